package docker

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// classify gives an error of the Docker client the class that the contract asks for. What has its
// class already, and the end of a context, stay as they are. The words are the daemon's.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var own *driver.Error
	if errors.As(err, &own) || errors.Is(err, driver.ErrUnsupported) {
		return err
	}
	msg, daemon := strings.CutPrefix(err.Error(), "Error response from daemon: ")
	class := classOf(err)
	if unnegotiated(err) {
		class = errdefs.ErrUnavailable
	} else if words := classOfWords(msg); words != nil && (daemon || class == nil) {
		class = words
	}
	if class == nil && unreachable(err) {
		class = errdefs.ErrUnavailable
	}
	if class == nil {
		return err
	}
	return driver.WithClass(class, "%s", msg)
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

// words are the daemon's messages whose HTTP status does not tell their class.
var words = []struct {
	text  string
	class error
}{
	{"extraction point is not a directory", errdefs.ErrFailedPrecondition},
	{"not a directory", errdefs.ErrFailedPrecondition},
	{"rootfs is marked read-only", errdefs.ErrFailedPrecondition},
	{"volume is in use", errdefs.ErrFailedPrecondition},
	{"is not running", errdefs.ErrFailedPrecondition},
	{"invalid reference format", errdefs.ErrInvalidArgument},
	{"database not open", errdefs.ErrUnavailable}, // the daemon is going down
	{"no such host", errdefs.ErrUnavailable},
	{"connection refused", errdefs.ErrUnavailable},
	{"i/o timeout", errdefs.ErrUnavailable},
	{"Client.Timeout exceeded", errdefs.ErrUnavailable},
	{"TLS handshake timeout", errdefs.ErrUnavailable},
	{"toomanyrequests", errdefs.ErrUnavailable},
	{"no matching manifest", errdefs.ErrNotFound},
	{"manifest unknown", errdefs.ErrNotFound},
	{"manifest for ", errdefs.ErrNotFound},
	{"name unknown", errdefs.ErrNotFound},
	{"does not match the specified platform", errdefs.ErrNotFound},
	{"no basic auth credentials", errdefs.ErrUnauthenticated},
	{"authentication required", errdefs.ErrUnauthenticated},
	{"unauthorized", errdefs.ErrUnauthenticated},
	{"401 Unauthorized", errdefs.ErrUnauthenticated},
	{"403 Forbidden", errdefs.ErrPermissionDenied},
	{"access denied", errdefs.ErrPermissionDenied},
	{"access to the resource is denied", errdefs.ErrPermissionDenied},
	{"denied: ", errdefs.ErrPermissionDenied},
}

func classOfWords(msg string) error {
	for _, w := range words {
		if strings.Contains(msg, w.text) {
			return w.class
		}
	}
	return nil
}

// unreachable reports whether the daemon could not be asked or did not finish its answer,
// so that asking again may help.
func unreachable(err error) bool {
	var netErr net.Error
	return client.IsErrConnectionFailed(err) || errors.As(err, &netErr) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errdefs.IsUnavailable(err) ||
		strings.Contains(err.Error(), "cannot connect to the Docker daemon") || strings.Contains(err.Error(), "connection reset by peer") ||
		unnegotiated(err)
}

// unnegotiated reports whether the daemon refused the newest version of the API that the client has, which the client uses
// when the connection breaks as it asks which version to use. Where the environment names the version, it is an honest refusal.
func unnegotiated(err error) bool {
	return strings.Contains(err.Error(), "client version "+client.MaxAPIVersion+" is too new") && os.Getenv(client.EnvOverrideAPIVersion) == ""
}

// lost reports whether a request may have reached the daemon though its answer did not arrive whole. Where no
// connection was made at all, it has not.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// noImage reports whether a create failed because the daemon does not have the image.
func noImage(err error) bool {
	return errdefs.IsNotFound(err) && (strings.Contains(err.Error(), "No such image") || strings.Contains(err.Error(), "does not match the specified platform"))
}
