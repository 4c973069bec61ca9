package remote

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// failure is an error on its way.
type failure struct {
	Op, Subject, Text string
	Class             string
}

// classes are the classes of errors that come across, by name.
var classes = map[string]error{
	"invalid-argument": errdefs.ErrInvalidArgument, "not-found": errdefs.ErrNotFound, "already-exists": errdefs.ErrAlreadyExists,
	"permission-denied": errdefs.ErrPermissionDenied, "resource-exhausted": errdefs.ErrResourceExhausted, "failed-precondition": errdefs.ErrFailedPrecondition,
	"aborted": errdefs.ErrAborted, "out-of-range": errdefs.ErrOutOfRange, "internal": errdefs.ErrInternal, "unavailable": errdefs.ErrUnavailable,
	"data-loss": errdefs.ErrDataLoss, "unauthenticated": errdefs.ErrUnauthenticated, "conflict": errdefs.ErrConflict, "not-implemented": errdefs.ErrNotImplemented,
	"unsupported": driver.ErrUnsupported, "canceled": context.Canceled, "deadline-exceeded": context.DeadlineExceeded,
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	if e, ok := err.(*driver.Error); ok {
		f.Op, f.Subject, f.Text = e.Op, e.Subject, e.Err.Error()
	}
	is := errdefs.Resolve(err)
	if errors.Is(err, driver.ErrUnsupported) {
		is = driver.ErrUnsupported
	}
	for name, class := range classes {
		if class == is {
			f.Class = name
		}
	}
	return f
}

// err is the error that the failure was, as far as it comes across.
func (f *failure) err() error {
	if f == nil {
		return nil
	}
	class := classes[f.Class]
	if class == nil {
		class = errdefs.ErrUnknown
	}
	err := driver.WithClass(class, "%s", f.Text)
	if f.Op == "" {
		return err
	}
	return &driver.Error{Op: f.Op, Subject: f.Subject, Err: err}
}
