package driver

import (
	"context"
	"io"
)

// TaskID is the handle of a task: an opaque string of printable ASCII, at most
// 256 bytes. It names one task for ever: when a task is removed and its name is
// used again, the new task has another id.
type TaskID string

// Driver runs tasks on a container runtime. The package comment has the words,
// the life of a task and the rules that hold for every method.
//
// The methods stand in the order of a task's life. Abilities that only some
// runtimes have are interfaces of their own ([Execer], [Dialer], [Eventer],
// [Puller], [Statser], [Sandboxer]); call them through the functions of this
// package, which know what to say when an ability is missing.
type Driver interface {
	// Create makes a task and starts nothing of it. It pulls the images that the
	// spec's pull policy asks for, and returns when the task can be started.
	//
	// A failed or cancelled Create leaves nothing behind. Until Create returns, others may see the task, as
	// [StateUnknown], and Start refuses it with FailedPrecondition; so stays one whose Create died half-way.
	//
	// Errors: AlreadyExists if the owner has a task of that name (running or
	// not), which List then tells, also if another call is just making it; InvalidArgument for a spec that Validate refuses, and for an image
	// name that is malformed; NotFound for an image, volume or sandbox that
	// does not exist, and for an image that its registry does not have for the runtime's platform;
	// PermissionDenied or Unauthenticated from a registry;
	// Unavailable when runtime or registry do not answer; [ErrUnsupported] for a
	// field that this driver cannot honour. A registry's refusal, and a connection that is refused, are told within
	// seconds. What a registry said is in the words of the error, and credentials never
	// are. Many calls that want one missing image at once fetch it once.
	Create(ctx context.Context, spec TaskSpec) (TaskID, error)

	// Start runs the init containers one after another, starts the services and
	// waits until they are ready, starts the main container, and returns when its
	// process has been started or the task has ended before that. A task that
	// could not be started has ended: Start returns nil and Wait says [InitFailed],
	// [ServiceFailed] or [StartFailed]. Start returns an error only when it does not
	// know: the runtime did not answer, or ctx ended.
	//
	// Start of a task that was started before returns nil and does nothing. A Start
	// that was interrupted, also by the death of its process, may be repeated by
	// anyone and goes on where the task stands; no container runs twice.
	//
	// Errors: NotFound for an unknown task; FailedPrecondition for one that is not complete; Unavailable.
	Start(ctx context.Context, id TaskID) error

	// Logs reads what the containers of a task print. Called before Start, with
	// Follow, it delivers from the first byte on; called later, by anyone, the same
	// again from the beginning, or from a cursor.
	//
	// The caller closes the reader; when ctx ends, Next returns its cause. A reader that is not read neither stops the
	// task nor grows without bound: what it has not taken yet stays with the runtime.
	// A broken connection is resumed inside, or returned as an error; it is
	// never taken for the end. A task that is removed while its log is followed, before all of
	// it was delivered, gives NotFound. See [LogReader].
	//
	// Errors: NotFound for an unknown task; InvalidArgument for a cursor that is
	// not one of this task; Unavailable.
	Logs(ctx context.Context, id TaskID, opts LogOptions) (LogReader, error)

	// Wait returns how a task ended, and blocks until it has. It may be called
	// before Start, while the task runs and after its end, any number of times and
	// by many at once; each gets the same answer. When ctx ends, the
	// waiting ends and the task goes on.
	//
	// The zero Result means unknown; success is only what the runtime itself has
	// on record as exit code 0, see [Result.Succeeded]. A task that someone removes
	// while Wait waits for it ended as [Lost].
	//
	// Errors: NotFound for a task that was removed before the call; Unavailable when
	// the runtime cannot be reached any more, after the driver has tried again.
	Wait(ctx context.Context, id TaskID) (Result, error)

	// Stop ends a running task: it sends TERM to the main process of each
	// container, waits opts.Grace, and sends KILL. It returns when the task has ended.
	// Output during the grace time is kept. Stop of a task that has ended, or that
	// was never started, returns nil (the latter has then ended, as [Stopped]).
	//
	// When ctx ends before the grace time does, the stopping goes on where the
	// runtime does it by itself, and else ceases; Stop may be called again.
	//
	// Errors: NotFound for an unknown task; Unavailable.
	Stop(ctx context.Context, id TaskID, opts StopOptions) error

	// Remove takes away everything that Create and Start made: containers,
	// networks, secrets, snapshots. A task that runs is killed, without grace.
	// Volumes and sandboxes that the spec only refers to stay.
	//
	// Remove is idempotent: repeated, concurrent, of a task that was never started
	// or never existed, it returns nil.
	//
	// Errors: Unavailable.
	Remove(ctx context.Context, id TaskID) error

	// List returns the owner's tasks that opts selects, also those that another
	// process made, in order of creation (oldest first, ties by name).
	//
	// Errors: Unavailable.
	List(ctx context.Context, opts ListOptions) ([]Task, error)

	// CopyIn unpacks a tar stream into a directory of a task or of a volume. On a
	// task it works before Start, while it runs, and after its end until
	// Remove. The image needs neither tar nor shell. Owners, modes,
	// modification times, symbolic and hard links are kept. Existing files are
	// replaced; a directory stays and is merged.
	//
	// The stream is checked with [SafeTar] on its way: names that leave the directory,
	// absolute names, links that point out of it (unless opts.OutsideLinks), and devices are refused as
	// InvalidArgument. What came before the refused entry may have been written.
	//
	// Errors: NotFound if task, volume or directory do not exist;
	// InvalidArgument for a hostile or broken stream; FailedPrecondition
	// if the path is no directory.
	CopyIn(ctx context.Context, opts CopyInOptions) error

	// CopyOut returns a file or a directory of a task or of a volume as a tar
	// stream. The first entry is the file or directory itself, under the last
	// element of the path; what is in a directory follows below that name.
	// Symbolic links are not followed. The caller closes the stream; an error
	// in the middle comes from Read, never as a short stream that ends well.
	//
	// Errors: NotFound if task, volume or path do not exist.
	CopyOut(ctx context.Context, opts CopyOutOptions) (io.ReadCloser, error)

	// CreateVolume makes an empty volume. A volume of that name which the owner
	// has already is AlreadyExists. Owner and mode of its root directory are the
	// runtime's choice, often root and 0755: where others than root shall write, make them a
	// directory with CopyIn or from a task.
	CreateVolume(ctx context.Context, spec VolumeSpec) (VolumeID, error)

	// RemoveVolume deletes a volume and what is in it. Of a volume that does
	// not exist it returns nil, also if another call is just removing it. A volume that a task still refers to, running or
	// not, is refused with FailedPrecondition.
	RemoveVolume(ctx context.Context, id VolumeID) error

	// ListVolumes returns the owner's volumes that opts selects, ordered by name.
	ListVolumes(ctx context.Context, opts ListOptions) ([]Volume, error)

	// Capabilities says which runtime this is and what it can do. It asks the
	// runtime at most once per driver value; a driver whose runtime does not
	// answer returns Unavailable.
	Capabilities(ctx context.Context) (Capabilities, error)

	// Close ends the driver's connections and goroutines, within five seconds.
	// Calls under way return with Unavailable or Canceled. Tasks, volumes and
	// sandboxes stay as they are. A second Close returns nil.
	Close() error
}
