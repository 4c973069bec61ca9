package drivertest

import (
	"context"
	"io"
	"os/exec"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Harness is what the suite needs to know of a driver and its runtime. Functions may be called by
// many goroutines at once. Those that reach the runtime behind the driver's back use its own
// tools or API, never the driver under test.
type Harness struct {
	// Open returns a new driver value that works for the owner. The suite closes it. Required.
	Open func(ctx context.Context, owner string) (driver.Driver, error)

	// OpenCuttable returns a new driver value whose connection to the runtime can be cut; [Proxy] helps. If it
	// is nil, which is right only for a driver that shares a process with its runtime, the cases that cut a connection
	// use a value of Open, and cut nothing.
	OpenCuttable func(ctx context.Context, owner string) (driver.Driver, Line, error)

	// OpenCounted returns a new driver value and a function that tells how many calls of the runtime's API it has made,
	// watches included. If it is nil, calls are not counted.
	OpenCounted func(ctx context.Context, owner string) (driver.Driver, func() int, error)

	// OpenAllowing returns a new driver value whose configuration allows all that goes beyond the safe choice and that
	// the runtime can do: privileged containers, host network, every host path, every capability, new privileges. If it is nil,
	// the cases of these use a value of Open, and see what that allows.
	OpenAllowing func(ctx context.Context, owner string) (driver.Driver, error)

	// Load puts the images of a docker-archive (as "docker save" writes it) into the runtime. Required, unless
	// Loaded is set.
	Load func(ctx context.Context, images io.Reader) error
	// Loaded says that the runtime has [Image] and [UsersImage] already.
	Loaded bool
	// Images says how to build what Load gets; the zero value fits the runtime on this machine.
	Images ImageOptions

	// RemoveOutside removes a running task by force behind the driver's back: its main container, and what
	// the runtime needs to be rid of first. Required.
	RemoveOutside func(ctx context.Context, id driver.TaskID) error
	// SignalOutside sends a signal to the main process of a running task behind the driver's back. Required.
	SignalOutside func(ctx context.Context, id driver.TaskID, signal int) error
	// Left names everything that the runtime has of the owner: containers, volumes, networks,
	// secrets, snapshots, mounts. Required.
	Left func(ctx context.Context, owner string) ([]string, error)

	// Shown returns everything that the runtime shows of a task to whoever may ask: inspect, labels, arguments,
	// events. If it is nil, secrets are looked for in what the driver tells, and nowhere else.
	Shown func(ctx context.Context, id driver.TaskID) (string, error)

	// Process returns a command, not yet started, that calls [Serve] on its standard input and output with
	// a driver value of that owner. If it is nil, which is right only for a driver that shares a
	// process with its runtime, another driver value stands for the other process.
	Process func(ctx context.Context, owner string) *exec.Cmd

	// RegistryHost is the address of this machine as the runtime sees it when it pulls images; a
	// registry of the suite listens there. Empty is "127.0.0.1".
	RegistryHost string

	// RemoveImage removes an image, by the name that it was pulled with, behind the driver's back; of one that is not
	// there it returns nil. If it is nil, the images of the suite's registries, some megabytes each, stay on the runtime.
	RemoveImage func(ctx context.Context, image string) error

	// CallsPerTask is how many calls of the API the whole life of a task of one container may cost; 0 is 12.
	CallsPerTask int
	// Slow multiplies every time limit; 0 is 1.
	Slow float64
	// StopMargin is how much longer than the grace time a Stop may take; 0 is 10 s.
	StopMargin time.Duration
}

// Line is the connection of a driver value to its runtime.
type Line struct {
	// Cut breaks every connection and refuses new ones.
	Cut func()
	// Restore admits connections again.
	Restore func()
}
