package kubernetes

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// classify finds the class of an error of the API server, of a registry or of the network, and keeps its words. What has
// its class already, and the end of a context, stay as they are.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var own *driver.Error
	if errors.As(err, &own) || errors.Is(err, driver.ErrUnsupported) || classOf(err) != nil {
		return err
	}
	if class := classOfStatus(err); class != nil {
		return driver.WithClass(class, "%s", err)
	}
	var reg *transport.Error
	if errors.As(err, &reg) {
		if class := classOfHTTP(reg.StatusCode); class != nil {
			return driver.WithClass(class, "%s", err)
		}
	}
	if class := classOfWords(err.Error()); class != nil {
		return driver.WithClass(class, "%s", err)
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return driver.WithClass(errdefs.ErrUnavailable, "%s", err)
	}
	return err
}

// classOfStatus is the class of what the API server answers, or nil.
func classOfStatus(err error) error {
	switch {
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return errdefs.ErrNotFound
	case apierrors.IsAlreadyExists(err):
		return errdefs.ErrAlreadyExists
	case apierrors.IsConflict(err):
		return errdefs.ErrConflict
	case apierrors.IsUnauthorized(err):
		return errdefs.ErrUnauthenticated
	case apierrors.IsForbidden(err):
		return errdefs.ErrPermissionDenied
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return errdefs.ErrInvalidArgument
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err):
		return errdefs.ErrUnavailable
	}
	return nil
}

func classOfHTTP(status int) error {
	switch {
	case status == 401:
		return errdefs.ErrUnauthenticated
	case status == 403:
		return errdefs.ErrPermissionDenied
	case status == 404:
		return errdefs.ErrNotFound
	case status == 429, status >= 500:
		return errdefs.ErrUnavailable
	}
	return nil
}

// classOf returns the class that an error has already, or nil.
func classOf(err error) error {
	for _, class := range []error{
		errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrInvalidArgument, errdefs.ErrUnauthenticated, errdefs.ErrPermissionDenied,
		errdefs.ErrFailedPrecondition, errdefs.ErrUnavailable, errdefs.ErrNotImplemented, errdefs.ErrConflict, errdefs.ErrResourceExhausted, errdefs.ErrInternal,
	} {
		if errors.Is(err, class) {
			return class
		}
	}
	return nil
}

// words are messages of kubelets, registries and the network whose type does not tell their class.
var words = []struct {
	text  string
	class error
}{
	{"ErrImageNeverPull", errdefs.ErrNotFound},
	{"is not present with pull policy of Never", errdefs.ErrNotFound},
	{"InvalidImageName", errdefs.ErrInvalidArgument},
	{"no such host", errdefs.ErrUnavailable},
	{"connection refused", errdefs.ErrUnavailable},
	{"connection reset by peer", errdefs.ErrUnavailable},
	{"broken pipe", errdefs.ErrUnavailable},
	{"i/o timeout", errdefs.ErrUnavailable},
	{"TLS handshake timeout", errdefs.ErrUnavailable},
	{"toomanyrequests", errdefs.ErrUnavailable},
	{"error dialing backend", errdefs.ErrUnavailable},
	{"no match for platform", errdefs.ErrNotFound},
	{"no child with platform", errdefs.ErrNotFound},
	{"manifest unknown", errdefs.ErrNotFound},
	{"no basic auth credentials", errdefs.ErrUnauthenticated},
	{"authorization failed", errdefs.ErrUnauthenticated},
	{"401 Unauthorized", errdefs.ErrUnauthenticated},
	{"unauthorized", errdefs.ErrUnauthenticated},
	{"403 Forbidden", errdefs.ErrPermissionDenied},
	{"insufficient_scope", errdefs.ErrPermissionDenied},
	{": not found", errdefs.ErrNotFound},
	{"502 Bad Gateway", errdefs.ErrUnavailable},
	{"500 Internal Server Error", errdefs.ErrUnavailable},
}

func classOfWords(msg string) error {
	for _, w := range words {
		if strings.Contains(msg, w.text) {
			return w.class
		}
	}
	return nil
}

// ofAnswer is the error that an answer of the helper holds, or nil.
func ofAnswer(a *wire.Answer) error {
	if a.Error == "" {
		return nil
	}
	class, ok := map[string]error{
		wire.NotFound: errdefs.ErrNotFound, wire.Invalid: errdefs.ErrInvalidArgument, wire.Precondition: errdefs.ErrFailedPrecondition,
		wire.Unavailable: errdefs.ErrUnavailable, wire.Exhausted: errdefs.ErrResourceExhausted,
	}[a.Class]
	if !ok {
		class = errdefs.ErrInternal
	}
	return driver.WithClass(class, "%s", a.Error)
}

// unreachable reports whether asking again may help.
func unreachable(err error) bool { return errdefs.IsUnavailable(classify(err)) }

// refused reports whether the API server says that the caller may not do something. One that was started a moment ago says so of everybody,
// until it has read the roles.
func refused(err error) bool {
	err = classify(err)
	return errdefs.IsPermissionDenied(err) || errdefs.IsUnauthorized(err)
}
