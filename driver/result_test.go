package driver

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestZeroResultIsNoSuccess(t *testing.T) {
	var r Result
	if r.Succeeded() || r.Outcome != Unknown || r.String() != "unknown" {
		t.Errorf("the zero Result is %v, succeeded: %t", r, r.Succeeded())
	}
}

func TestResultOfCode(t *testing.T) {
	for code := -2; code < 260; code++ {
		r := ResultOfCode(code)
		want := Exited
		switch {
		case code < 0 || code > 255:
			want = Unknown
		case code == 137 || code == 143:
			want = Signaled
		}
		if r.Outcome != want || r.Succeeded() != (code == 0) {
			t.Errorf("ResultOfCode(%d) = %+v; want %v", code, r, want)
		}
		if want == Signaled && r.Signal != code-128 {
			t.Errorf("ResultOfCode(%d).Signal = %d", code, r.Signal)
		}
	}
}

func TestResultString(t *testing.T) {
	for want, r := range map[string]Result{
		"exited with code 2":                        {Outcome: Exited, Code: 2},
		"killed by signal 9 (KILL)":                 {Outcome: Signaled, Signal: 9},
		"killed by signal 64 (64)":                  {Outcome: Signaled, Signal: 64},
		"out of memory":                             {Outcome: OutOfMemory, Code: 137},
		`init container "clone" failed with code 1`: {Outcome: InitFailed, Container: "clone", Code: 1},
		`service "db" failed: not ready`:            {Outcome: ServiceFailed, Code: -1, Container: "db", Reason: "not ready"},
		`service "db" failed with code 4: it ended`: {Outcome: ServiceFailed, Code: 4, Container: "db", Reason: "it ended"},
		`start failed: exec: "foo": not found`:      {Outcome: StartFailed, Reason: `exec: "foo": not found`},
		"evicted: node was short of memory":         {Outcome: Evicted, Reason: "node was short of memory"},
		"lost":                                      {Outcome: Lost}, "stopped": {Outcome: Stopped}, "Outcome(99)": {Outcome: 99},
	} {
		if got := r.String(); got != want {
			t.Errorf("%+v: %q; want %q", r, got, want)
		}
	}
}

func TestStringsOfBadValues(t *testing.T) {
	for got, want := range map[string]string{
		Stream(0).String(): "unknown", Stream(9).String(): "unknown", State(99).String(): "unknown", PullPolicy(99).String(): "unknown",
	} {
		if got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	ctx := context.Background()
	if err := Wrap(ctx, "stop", "x", nil); err != nil {
		t.Errorf("Wrap of nil: %v", err)
	}
	base := WithClass(errdefs.ErrNotFound, "no such container: %s", "x")
	err := Wrap(ctx, "stop", "x", base)
	var typed *Error
	if !errors.As(err, &typed) || typed.Op != "stop" || typed.Subject != "x" || !errdefs.IsNotFound(err) {
		t.Errorf("Wrap = %#v; want an *Error of class NotFound", err)
	}
	if want := "stop x: no such container: x"; err.Error() != want {
		t.Errorf("%q; want %q", err, want)
	}
	if again := Wrap(ctx, "remove", "y", err); again != err {
		t.Errorf("Wrap of a wrapped error: %v; want it as it is", again)
	}
	if got := (&Error{Op: "list", Err: io.EOF}).Error(); got != "list: EOF" {
		t.Errorf("without a subject: %q", got)
	}
}

func TestWrapMatchesCause(t *testing.T) {
	cause := errors.New("own reason")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	for _, inner := range []error{errors.New("connection closed"), cause, &Error{Op: "inner", Err: io.EOF}} {
		err := Wrap(ctx, "wait", "x", inner)
		var typed *Error
		if !errors.Is(err, cause) || !errors.Is(err, inner) || !errors.As(err, &typed) {
			t.Errorf("Wrap(%v) = %v; want it to match the cause, the inner error, and *Error", inner, err)
		}
	}
}

func TestUnsupported(t *testing.T) {
	err := Wrap(context.Background(), "create", "x", Unsupported("Network.DNS"))
	if !errors.Is(err, ErrUnsupported) || !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "Network.DNS") {
		t.Errorf("Unsupported = %v", err)
	}
}

// someLog is a log of some entries and an end.
type someLog struct {
	entries []string
	end     error
	n       int
}

func (l *someLog) Next() (LogEntry, error) {
	if l.n == len(l.entries) {
		return LogEntry{}, l.end
	}
	l.n++
	return LogEntry{Line: []byte(l.entries[l.n-1])}, nil
}

func (l *someLog) Cursor() Cursor { return "" }
func (l *someLog) Close() error   { return nil }

func TestEntries(t *testing.T) {
	broken := errors.New("connection lost")
	for _, c := range []struct {
		end  error
		want string
	}{
		{io.EOF, "a b "},
		{broken, "a b connection lost"},
	} {
		var got strings.Builder
		for e, err := range Entries(&someLog{entries: []string{"a", "b"}, end: c.end}) {
			if err != nil {
				got.WriteString(err.Error())
				continue
			}
			got.WriteString(string(e.Line) + " ")
		}
		if got.String() != c.want {
			t.Errorf("Entries with the end %v: %q; want %q", c.end, got.String(), c.want)
		}
	}
	l := &someLog{entries: []string{"a", "b", "c"}, end: io.EOF}
	for range Entries(l) {
		break
	}
	if l.n != 1 {
		t.Errorf("after a break, %d entries were read; want 1", l.n)
	}
}
