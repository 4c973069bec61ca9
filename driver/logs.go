package driver

import (
	"errors"
	"io"
	"iter"
	"time"
)

// Stream tells standard output from standard error.
type Stream uint8

const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// String returns "stdout" or "stderr".
func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	}
	return "unknown"
}

// MaxLogLine is the length, in bytes, at which a line is delivered in parts: the
// longest [LogEntry.Line]. Standard error's and standard output's order among each other is as good
// as the runtime knows it; the order within each is exact.
const MaxLogLine = 64 << 10

// Cursor is a place in a task's log, after some entry: an opaque string of at most
// 4 KiB that can be stored and given to [LogOptions] by any process. The
// empty cursor is the beginning.
type Cursor string

// LogOptions says what of a task's log to read.
type LogOptions struct {
	// Follow delivers what is still to come, until the task's last container has
	// ended and all its output was delivered. Without it, the reader ends with
	// what there is now.
	Follow bool
	// From is where to begin: just behind the entry after which the cursor was
	// taken; no entry is lost or doubled.
	From Cursor
	// Containers restricts the log to these containers, by name; the main
	// container's name is [MainContainer]. Empty means all.
	Containers []string
}

// LogEntry is a line, or a part of a very long one.
type LogEntry struct {
	// Time is when the runtime, or the driver at the other end of a live stream,
	// saw the entry. It does not run backwards within a stream, and may differ by the
	// delay between these two when the same line is read again.
	Time time.Time
	// Container is the name of the container, [MainContainer] for the main one.
	Container string
	// Stream is [Stdout] or [Stderr].
	Stream Stream
	// Partial says that the line goes on in the next entry of the same
	// container and stream.
	Partial bool
	// Line has every byte as it was written, carriage returns, NUL and invalid
	// UTF-8 included, without the newline that ended it. A last line that no
	// newline ended is an entry like any other. The slice is
	// valid until the next call of Next.
	Line []byte
}

// LogReader delivers the entries of a log. It is used by one goroutine at a
// time, except for Close, which any goroutine may call and which makes Next return.
type LogReader interface {
	// Next blocks until there is an entry, and returns it. At the end it returns
	// io.EOF: with Follow this says that the task's containers have ended and that
	// every byte was delivered. Any other error says that there may be
	// more; go on with Cursor in a new reader.
	Next() (LogEntry, error)
	// Cursor returns the place after the entry that Next returned last.
	Cursor() Cursor
	// Close frees the reader. A second Close returns nil.
	Close() error
}

// Entries iterates over what is left in r. It ends quietly at io.EOF; any other
// error is the last pair. It does not close r.
func Entries(r LogReader) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
