package podman

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// classify gives an error of the API the class that the contract asks for. What has its
// class already, and the end of a context, stay as they are. The words are the service's.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var own *driver.Error
	if errors.As(err, &own) || errors.Is(err, driver.ErrUnsupported) {
		return err
	}
	msg, service := err.Error(), answered(err)
	class := classOf(err)
	if words := classOfWords(msg); words != nil && (service || class == nil) {
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

// words are the service's messages whose HTTP status does not tell their class.
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
	{"database not open", errdefs.ErrUnavailable}, // the service is going down
	{"image not known", errdefs.ErrNotFound},
	{"no such image", errdefs.ErrNotFound},
	{"no space left on device", errdefs.ErrResourceExhausted},
	{"database or disk is full", errdefs.ErrResourceExhausted},
	{"no such host", errdefs.ErrUnavailable},
	{"connection refused", errdefs.ErrUnavailable},
	{"i/o timeout", errdefs.ErrUnavailable},
	{"Client.Timeout exceeded", errdefs.ErrUnavailable},
	{"TLS handshake timeout", errdefs.ErrUnavailable},
	{"toomanyrequests", errdefs.ErrUnavailable},
	{"no matching manifest", errdefs.ErrNotFound},
	{"no image found in", errdefs.ErrNotFound}, // a manifest list or an index
	{"manifest unknown", errdefs.ErrNotFound},
	{"manifest for ", errdefs.ErrNotFound},
	{"name unknown", errdefs.ErrNotFound},
	{"does not match the specified platform", errdefs.ErrNotFound},
	{"no basic auth credentials", errdefs.ErrUnauthenticated},
	{"authentication required", errdefs.ErrUnauthenticated},
	{"unauthorized", errdefs.ErrUnauthenticated},
	{"access denied", errdefs.ErrPermissionDenied},
	{"access to the resource is denied", errdefs.ErrPermissionDenied},
	{"denied: ", errdefs.ErrPermissionDenied},
	{": denied", errdefs.ErrPermissionDenied},
}

func classOfWords(msg string) error {
	for _, w := range words {
		if strings.Contains(msg, w.text) {
			return w.class
		}
	}
	return nil
}

// unreachable reports whether the service could not be asked or did not finish its answer,
// so that asking again may help.
func unreachable(err error) bool {
	if answered(err) {
		return false
	}
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errdefs.IsUnavailable(err) || strings.Contains(err.Error(), "connection reset by peer")
}

// noImage reports whether a create failed because the service does not have the image.
func noImage(err error) bool {
	return answered(err) && (strings.Contains(err.Error(), "no such image") || strings.Contains(err.Error(), "image not known"))
}

// noNetwork reports whether a create failed because the shared network is not there.
func noNetwork(err error) bool {
	return answered(err) && strings.Contains(err.Error(), sharedNetwork) && strings.Contains(err.Error(), "network not found")
}

// notRunning reports whether a call failed because the container does not run.
func notRunning(err error) bool {
	text := err.Error()
	return answered(err) && (strings.Contains(text, "not running") || strings.Contains(text, "is not in a state") ||
		strings.Contains(text, "container state improper") || strings.Contains(text, "can only kill running") || strings.Contains(text, "can only stop"))
}

// endedMeanwhile reports whether a removal failed because the container's process ended just when it was to be killed.
func endedMeanwhile(err error) bool {
	return answered(err) && strings.Contains(err.Error(), "could not be stopped")
}

// sandboxDown reports whether a start failed because the container whose namespace it joins does not run.
func sandboxDown(err error) bool {
	text := err.Error()
	return strings.Contains(text, "dependencies of container") || strings.Contains(text, "joining network namespace") || strings.Contains(text, "cannot get namespace path")
}

// startFailure reports whether a start failed for a reason that lies in the container: it would fail again.
func startFailure(err error) bool {
	text := err.Error()
	for _, w := range []string{"OCI runtime", "runc", "crun", "executable file", "unable to find user", "no matching entries in", "working", "not a directory", "workdir"} {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
