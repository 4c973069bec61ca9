package provisioner

import (
	"context"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// How long the runtime may take for one call: a call that hangs must not stop the queue for ever. Calls that wait for a worker (Start, Wait, Logs) have other bounds.
const (
	askBound    = 30 * time.Second
	removeBound = 2 * time.Minute
	makeBound   = 4 * time.Minute // with a pull, if the image is not there
	probeBound  = 3 * time.Second // to see whether it answers at all
)

// bounded is a driver whose calls that ask, or that make and remove what is small, end as Unavailable when the runtime does not answer in time.
type bounded struct{ driver.Driver }

// Unwrap lets the abilities of the driver inside be found.
func (b bounded) Unwrap() driver.Driver { return b.Driver }

// within bounds a call, and says so in the error that comes of it.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, driver.WithClass(errdefs.ErrUnavailable, "the runtime has not done it within %v", d))
}

func (b bounded) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	ctx, cancel := within(ctx, askBound)
	defer cancel()
	return b.Driver.List(ctx, opts)
}

func (b bounded) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	ctx, cancel := within(ctx, askBound)
	defer cancel()
	return b.Driver.ListVolumes(ctx, opts)
}

func (b bounded) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	ctx, cancel := within(ctx, askBound)
	defer cancel()
	return b.Driver.CreateVolume(ctx, spec)
}

func (b bounded) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	ctx, cancel := within(ctx, makeBound)
	defer cancel()
	return b.Driver.Create(ctx, spec)
}

func (b bounded) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	ctx, cancel := within(ctx, removeBound)
	defer cancel()
	return b.Driver.RemoveVolume(ctx, id)
}

func (b bounded) Remove(ctx context.Context, id driver.TaskID) error {
	ctx, cancel := within(ctx, removeBound)
	defer cancel()
	return b.Driver.Remove(ctx, id)
}

// Stop has the time of grace besides.
func (b bounded) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	ctx, cancel := within(ctx, opts.Grace+removeBound)
	defer cancel()
	return b.Driver.Stop(ctx, id, opts)
}
