package driver

import (
	"context"
	"io"
	"net"
	"time"
)

// Unwrapper is what a decorator of a driver has, so that the functions of this
// package find the abilities of the driver inside.
type Unwrapper interface {
	// Unwrap returns the driver inside.
	Unwrap() Driver
}

// ability finds the innermost-but-first driver that has the ability T.
func ability[T any](d Driver, name string) (T, error) {
	for cur := d; cur != nil; {
		if a, ok := cur.(T); ok {
			return a, nil
		}
		u, ok := cur.(Unwrapper)
		if !ok {
			break
		}
		cur = u.Unwrap()
	}
	var none T
	return none, Unsupported(name)
}

// ExecSpec is a command to run in a running task.
type ExecSpec struct {
	// Container is the name of the container; empty is [MainContainer].
	Container string
	// Args is the argument vector.
	Args []string
	// Env is added to the container's environment.
	Env map[string]string
	// Dir and User as in [Container].
	Dir, User string
	// Stdin is what the command reads; nil for nothing.
	Stdin io.Reader
	// Stdout and Stderr take what the command writes; nil drops it.
	Stdout, Stderr io.Writer
}

// Execer is a driver that can run a command in a running task.
type Execer interface {
	// Exec runs the command to its end, and returns when it has ended and all its output has
	// been written. Ending ctx ends the command as far as the runtime can.
	// Errors: FailedPrecondition if the container does not run; NotFound.
	Exec(ctx context.Context, id TaskID, spec ExecSpec) (Result, error)
}

// Exec calls [Execer.Exec], or returns an error that matches [ErrUnsupported].
func Exec(ctx context.Context, d Driver, id TaskID, spec ExecSpec) (Result, error) {
	a, err := ability[Execer](d, "exec")
	if err != nil {
		return Result{}, err
	}
	return a.Exec(ctx, id, spec)
}

// Dialer is a driver that can connect to a port inside a task.
type Dialer interface {
	// Dial connects to a TCP port in the task's network namespace, also one that listens
	// on localhost only, in every mode of the network. The connection has a method CloseWrite, which ends what
	// the task reads and leaves the other direction open. Many may be open at once.
	// Errors: FailedPrecondition if the task does not run; NotFound; Unavailable if nothing listens.
	Dial(ctx context.Context, id TaskID, port int) (net.Conn, error)
}

// Dial calls [Dialer.Dial], or returns an error that matches [ErrUnsupported].
func Dial(ctx context.Context, d Driver, id TaskID, port int) (net.Conn, error) {
	a, err := ability[Dialer](d, "dial")
	if err != nil {
		return nil, err
	}
	return a.Dial(ctx, id, port)
}

// Event tells that a task changed.
type Event struct {
	Task  TaskID
	State State
	// Removed says that the task is gone.
	Removed bool
	// Reason as in [Task].
	Reason string
	Time   time.Time
}

// Eventer is a driver that tells of changes.
type Eventer interface {
	// Events calls f, from one goroutine, for every task that opts selects: first
	// for the state of each as it is, then for each change, until ctx ends or f returns an error,
	// which Events returns. Broken connections are mended inside, and what changed meanwhile is told.
	Events(ctx context.Context, opts ListOptions, f func(Event) error) error
}

// Events calls [Eventer.Events], or returns an error that matches [ErrUnsupported].
func Events(ctx context.Context, d Driver, opts ListOptions, f func(Event) error) error {
	a, err := ability[Eventer](d, "events")
	if err != nil {
		return err
	}
	return a.Events(ctx, opts, f)
}

// PullSpec is an image to be fetched ahead.
type PullSpec struct {
	Image       string
	Policy      PullPolicy
	Credentials *Credentials
	Platform    string
	// Progress, if not nil, is called from one goroutine with what has arrived.
	Progress func(PullProgress)
}

// PullProgress is how far a pull is. Total grows as the runtime learns of layers, never shrinks, and is 0 as long as it
// knows none; Done is at most Total.
type PullProgress struct {
	// Done and Total are in bytes.
	Done, Total int64
	// Status is the runtime's own word, such as "Extracting".
	Status string
}

// Puller is a driver that can fetch an image ahead of the tasks that use it.
type Puller interface {
	// Pull fetches the image by its policy; several calls for one image fetch it
	// once. Errors as in Create.
	Pull(ctx context.Context, spec PullSpec) error
}

// Pull calls [Puller.Pull], or returns an error that matches [ErrUnsupported].
func Pull(ctx context.Context, d Driver, spec PullSpec) error {
	a, err := ability[Puller](d, "pull")
	if err != nil {
		return err
	}
	return a.Pull(ctx, spec)
}

// Usage is what a running task uses at one moment.
type Usage struct {
	// CPU is the processor time used so far.
	CPU time.Duration
	// Memory is in bytes, without the page cache; PIDs counts processes and threads.
	Memory, PIDs int64
}

// Statser is a driver that can measure a task.
type Statser interface {
	// Stats returns the sum over the containers of a task that runs.
	// Errors: FailedPrecondition if it does not run; NotFound.
	Stats(ctx context.Context, id TaskID) (Usage, error)
}

// Stats calls [Statser.Stats], or returns an error that matches [ErrUnsupported].
func Stats(ctx context.Context, d Driver, id TaskID) (Usage, error) {
	a, err := ability[Statser](d, "stats")
	if err != nil {
		return Usage{}, err
	}
	return a.Stats(ctx, id)
}

// SandboxID is the handle of a sandbox, with the same rules as [TaskID].
type SandboxID string

// SandboxSpec describes a sandbox to be made.
type SandboxSpec struct {
	// Name is unique among the owner's sandboxes; see [ValidName].
	Name string
	// Labels are stored with the sandbox and found by [ListOptions].
	Labels map[string]string
	// Network is what the sandbox reaches.
	Network Network
}

// Sandbox is a sandbox as the runtime has it.
type Sandbox struct {
	ID      SandboxID
	Name    string
	Labels  map[string]string
	Created time.Time
}

// Sandboxer is a driver that can make network namespaces ahead of the tasks that
// use them. Setting up a network is most of what a container's start costs on some
// runtimes; a sandbox takes that off the path of a step, and serves many, in turn.
type Sandboxer interface {
	// CreateSandbox makes a sandbox, ready for use by [TaskSpec].Sandbox. A failed
	// or cancelled call leaves nothing behind. Errors: AlreadyExists; Unavailable.
	CreateSandbox(ctx context.Context, spec SandboxSpec) (SandboxID, error)
	// RemoveSandbox is idempotent, as Remove. A sandbox that a running task uses is
	// removed all the same; the task loses its network.
	RemoveSandbox(ctx context.Context, id SandboxID) error
	// ListSandboxes returns the owner's sandboxes, oldest first.
	ListSandboxes(ctx context.Context, opts ListOptions) ([]Sandbox, error)
}

// CreateSandbox calls [Sandboxer.CreateSandbox], or returns an error that matches [ErrUnsupported].
func CreateSandbox(ctx context.Context, d Driver, spec SandboxSpec) (SandboxID, error) {
	a, err := ability[Sandboxer](d, "sandbox")
	if err != nil {
		return "", err
	}
	return a.CreateSandbox(ctx, spec)
}

// RemoveSandbox calls [Sandboxer.RemoveSandbox], or returns an error that matches [ErrUnsupported].
func RemoveSandbox(ctx context.Context, d Driver, id SandboxID) error {
	a, err := ability[Sandboxer](d, "sandbox")
	if err != nil {
		return err
	}
	return a.RemoveSandbox(ctx, id)
}

// ListSandboxes calls [Sandboxer.ListSandboxes], or returns an error that matches [ErrUnsupported].
func ListSandboxes(ctx context.Context, d Driver, opts ListOptions) ([]Sandbox, error) {
	a, err := ability[Sandboxer](d, "sandbox")
	if err != nil {
		return nil, err
	}
	return a.ListSandboxes(ctx, opts)
}
