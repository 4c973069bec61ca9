//go:build linux

package containerd

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"github.com/wharfci/wharf/driver"
)

// classify gives an error of the daemon, a registry or the file system the class that the contract asks for. What
// has its class already, and the end of a context, stay as they are.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var own *driver.Error
	if errors.As(err, &own) || errors.Is(err, driver.ErrUnsupported) {
		return err
	}
	if _, ok := status.FromError(err); ok {
		err = errgrpc.ToNative(err)
	}
	if words := classOfWords(err.Error()); words != nil {
		return driver.WithClass(words, "%s", err)
	}
	if classOf(err) != nil {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return driver.WithClass(errdefs.ErrNotFound, "%s", err)
	case errors.Is(err, syscall.ENOSPC), strings.Contains(err.Error(), "no space left on device"):
		return driver.WithClass(errdefs.ErrResourceExhausted, "%s", err)
	case errors.Is(err, syscall.ENOTDIR):
		return driver.WithClass(errdefs.ErrFailedPrecondition, "%s", err)
	case errors.Is(err, fs.ErrPermission):
		return driver.WithClass(errdefs.ErrPermissionDenied, "%s: the driver for containerd needs root", err)
	}
	return err
}

// classOf returns the class that an error has already, or nil.
func classOf(err error) error {
	for _, class := range []error{
		errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrInvalidArgument, errdefs.ErrUnauthenticated, errdefs.ErrPermissionDenied,
		errdefs.ErrFailedPrecondition, errdefs.ErrUnavailable, errdefs.ErrNotImplemented, errdefs.ErrConflict, errdefs.ErrInternal,
	} {
		if errors.Is(err, class) {
			return class
		}
	}
	return nil
}

// words are messages of registries and of the network whose type does not tell their class.
var words = []struct {
	text  string
	class error
}{
	{shimGone, errdefs.ErrUnavailable},
	{"no such host", errdefs.ErrUnavailable},
	{"connection refused", errdefs.ErrUnavailable},
	{"connection reset by peer", errdefs.ErrUnavailable},
	{"i/o timeout", errdefs.ErrUnavailable},
	{"TLS handshake timeout", errdefs.ErrUnavailable},
	{"toomanyrequests", errdefs.ErrUnavailable},
	{"no match for platform", errdefs.ErrNotFound},
	{"no basic auth credentials", errdefs.ErrUnauthenticated},
	{"authorization failed", errdefs.ErrUnauthenticated},
	{"401 Unauthorized", errdefs.ErrUnauthenticated},
	{"unauthorized", errdefs.ErrUnauthenticated},
	{"403 Forbidden", errdefs.ErrPermissionDenied},
	{"insufficient_scope", errdefs.ErrPermissionDenied},
}

func classOfWords(msg string) error {
	for _, w := range words {
		if strings.Contains(msg, w.text) {
			return w.class
		}
	}
	return nil
}

// shimGone is what the daemon says of a task whose shim has died, until it has cleared up after it.
const shimGone = "ttrpc: closed"

// unreachable reports whether the daemon could not be asked, so that asking again may help.
func unreachable(err error) bool {
	return err != nil && strings.Contains(err.Error(), shimGone) || errdefs.IsUnavailable(err) || errdefs.IsUnavailable(errgrpc.ToNative(err))
}

func notFound(err error) bool {
	return err != nil && (errdefs.IsNotFound(err) || errdefs.IsNotFound(errgrpc.ToNative(err)))
}
