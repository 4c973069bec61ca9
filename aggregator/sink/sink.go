// Package sink says where the results of builds go: lines of logs, states, artifacts and test results.
//
// A sink may be any program with an API, and few of these are idempotent. So whoever writes asks first how much the sink has ([Report.Lines]), writes what comes behind that, and
// asks again whenever it is not sure what became of what it wrote. What the lines of a build are, and in which order, does not depend on who relays them; so their number says
// how far the last one got.
package sink

import (
	"context"
	"io"
	"time"
)

// Status is the state of a build as sinks know it. A build never goes back: to a Status that stands before its own.
type Status string

// The states of a build. The last three are final.
const (
	Scheduling Status = "Scheduling"
	Running    Status = "Running"
	Completed  Status = "Completed"
	Failed     Status = "Failed"
	// Ended is what Report.Status returns of a build that is Completed or Failed if the sink does not tell which.
	Ended Status = "Ended"
)

// Final reports whether nothing comes after s.
func (s Status) Final() bool { return s == Completed || s == Failed || s == Ended }

// Line is a line of a build's log.
type Line struct {
	// Time is when it was printed.
	Time time.Time
	// Text is valid UTF-8, has no newline and no NUL, and is at most MaxLine bytes long.
	Text []byte
	// Step is the ID of the step that printed it; empty if none did. Entry is the number that it has in the worker's journal, or 0. A sink need not store either.
	Step  string
	Entry uint64
}

// MaxLine is the most bytes that a line may have.
const MaxLine = 1 << 20

// Artifact is a file that a build has left.
type Artifact struct {
	// Name is a file name without directories. It is the build's only artifact of that name.
	Name string
	// Size is in bytes, SHA256 in hexadecimal.
	Size   int64
	SHA256 string
	// TestResults says that it is a file of test results.
	TestResults bool
	// Open reads it from its beginning.
	Open func(context.Context) (io.ReadCloser, error)
}

// Build is a build that a sink knows.
type Build struct {
	ID     uint64
	Status Status
	// Scheduled is when it was asked for, and Worker the ID of its worker; zero if the sink does not know.
	Scheduled time.Time
	Worker    string
	// Engine is the ID of what the sink has run its builds, where it has several; empty if it does not tell.
	Engine string
}

// Fence is the time until which who has a build may write, by the clock of this process; zero if it may not any more. It is asked just before each write, by many goroutines at
// once: somebody else may have the build after that time, and what is written then would be there twice.
type Fence func() time.Time

// Turn is who writes.
type Turn struct {
	Fence Fence
	// Clean says that nothing that somebody else has written of this build can still be under way.
	Clean bool
}

// Sink takes builds. Its methods may be called by many goroutines at once. Errors are classified with github.com/containerd/errdefs; those that are not named are worth another try.
type Sink interface {
	// Open returns the sink's side of a build. It does not ask the sink for anything.
	Open(build uint64, turn Turn) Report
	// Active returns the builds that have not ended, in any order.
	Active(context.Context) ([]Build, error)
	// Ready returns nil if the sink answers and lets us write.
	Ready(context.Context) error
	// Close ends all connections.
	Close() error
}

// Report is the sink's side of one build, for who has it. Append, Commit, Lines and Find are called by one goroutine at a time, and so is PutArtifact, which may run beside them; the others may be
// called by many at once. A call ends when its context does, which leaves open what became of what it wrote. A build that the sink does not know is NotFound. No method writes
// after the end of the turn.
type Report interface {
	// Lines returns how many lines the sink has of the build, when all that was written before has arrived or will not any more, as far as can be known.
	Lines(context.Context) (uint64, error)
	// Find is Lines, and says besides how many of these lines there are from the last one on that begins with a prefix, that included; 0 if none does.
	Find(ctx context.Context, prefix string) (lines, since uint64, err error)
	// Append writes lines behind the first at ones, which the sink has or has been written. They are under way when it returns, and the slice and what it holds may be used again. Another at is
	// an error, of Append or of Commit, and nothing of lines is stored. After an error, only Lines tells what has arrived.
	Append(ctx context.Context, at uint64, lines []Line) error
	// Commit returns nil when all lines that were appended are stored. After an error, only Lines tells which are.
	Commit(context.Context) error
	// Status returns the build's state.
	Status(context.Context) (Status, error)
	// SetStatus sets it. When a final state has been set, none that was set before comes after it; the report sets no other, and returns nil. Ended cannot be set.
	SetStatus(context.Context, Status) error
	// PutArtifact stores an artifact, unless the sink has one of this name: all of what its Open reads, or nothing if that fails or is not of its Size. What Open returns is closed before
	// PutArtifact returns. InvalidArgument: the sink does not take it, now or later.
	PutArtifact(context.Context, Artifact) error
	// Clean reports whether nothing that was written is still under way, as far as can be known: see Turn. It is called when no other call is under way.
	Clean() bool
	// Close ends the connections of the build. What was appended and not committed may or may not arrive.
	Close() error
}
