package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
)

// ErrUnsupported is matched, with [errors.Is], by every refusal of what a driver or its runtime
// cannot do. Such errors also match [errdefs.ErrNotImplemented].
var ErrUnsupported = fmt.Errorf("not supported: %w", errdefs.ErrNotImplemented)

// Unsupported returns an error that matches [ErrUnsupported] and names the field of the spec, such as
// "Container.Resources.PIDs", or the ability, such as "exec".
func Unsupported(field string) error {
	return &classified{class: ErrUnsupported, msg: field + " is not supported by this runtime"}
}

// Error is what the methods of a driver return: the operation, what it was done
// to, and the cause with its class.
type Error struct {
	// Op is the operation, such as "create".
	Op string
	// Subject is the name or handle of the task, volume, sandbox or image. It may be empty.
	Subject string
	// Err has the runtime's own words.
	Err error
}

// Error returns "op subject: cause".
func (e *Error) Error() string {
	if e.Subject == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Subject + ": " + e.Err.Error()
}

// Unwrap returns the cause, so that [errors.Is] and the functions of errdefs see its class.
func (e *Error) Unwrap() error { return e.Err }

// Wrap returns err as an [*Error], or nil for nil. An error that is one already is
// returned as it is: context is added once. If ctx has ended, the result also
// matches the context's cause.
func Wrap(ctx context.Context, op, subject string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: op, Subject: subject, Err: err}
}

// WithClass returns an error with the words of msg that matches class, one of the errors of
// errdefs, without repeating the class in words.
func WithClass(class error, format string, args ...any) error {
	return &classified{class: class, msg: fmt.Sprintf(format, args...)}
}

type classified struct {
	class error
	msg   string
}

func (c *classified) Error() string { return c.msg }
func (c *classified) Unwrap() error { return c.class }
