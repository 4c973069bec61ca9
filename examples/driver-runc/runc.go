package runc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Config says where a driver keeps things, and for whom. The zero value is /var/lib/wharf-runc and the owner "default".
type Config struct {
	// Root is the directory of everything.
	Root string
	// Owner is whose tasks and volumes the driver sees; see [driver.ValidName].
	Owner string
}

// Driver is a [driver.Driver] on runc. It is safe for use by many goroutines.
type Driver struct {
	root, owner string
	watcher     *watcher

	ctx   context.Context // ends with Close
	close context.CancelCauseFunc
	caps  func() (driver.Capabilities, error)
}

var _ driver.Driver = (*Driver)(nil)

var errClosed = driver.WithClass(errdefs.ErrUnavailable, "the driver was closed")

// New returns a driver. The caller closes it.
func New(cfg Config) (*Driver, error) {
	d := &Driver{root: cfg.Root, owner: cfg.Owner}
	if d.root == "" {
		d.root = "/var/lib/wharf-runc"
	}
	if d.owner == "" {
		d.owner = "default"
	}
	if err := driver.ValidName(d.owner); err != nil {
		return nil, &driver.Error{Op: "configure runc", Err: err}
	}
	for _, dir := range []string{d.tasks(), d.volumes(), d.trash(), d.images("refs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, &driver.Error{Op: "configure runc", Err: classify(err)}
		}
	}
	var err error
	if d.watcher, err = newWatcher(); err != nil {
		return nil, &driver.Error{Op: "configure runc", Err: classify(err)}
	}
	d.ctx, d.close = context.WithCancelCause(context.Background())
	d.caps = sync.OnceValues(capabilities)
	return d, nil
}

func (d *Driver) tasks() string   { return filepath.Join(d.root, "owners", d.owner, "tasks") }
func (d *Driver) volumes() string { return filepath.Join(d.root, "owners", d.owner, "volumes") }
func (d *Driver) trash() string   { return filepath.Join(d.root, "owners", d.owner, "trash") }

func (d *Driver) images(name string) string { return filepath.Join(d.root, "images", name) }

// begin returns the context of a call, which also ends when the driver is closed.
func (d *Driver) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Close ends calls under way. Containers go on: their shims are processes of their own.
func (d *Driver) Close() error {
	d.close(errClosed)
	return d.watcher.close()
}

// Capabilities is what this driver claims; the suite proves each claim, and each refusal of what is not claimed.
func (d *Driver) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	caps, err := d.caps()
	return caps, driver.Wrap(ctx, "capabilities", "", err)
}

func capabilities() (driver.Capabilities, error) {
	out, err := exec.Command("runc", "--version").Output()
	if err != nil {
		return driver.Capabilities{}, driver.WithClass(errdefs.ErrUnavailable, "runc --version: %v; install runc", err)
	}
	version, _, _ := strings.Cut(string(out), "\n")
	return driver.Capabilities{
		Runtime: strings.Replace(version, " version", "", 1), OS: "linux", Arch: runtime.GOARCH,
		Hostname: true, NetworkNone: true,
	}, nil
}

// classify gives an error of the file system its class; what has one keeps it.
func classify(err error) error {
	var class error
	switch {
	case err == nil, classified(err):
		return err
	case errors.Is(err, os.ErrNotExist):
		class = errdefs.ErrNotFound
	case errors.Is(err, os.ErrExist):
		class = errdefs.ErrAlreadyExists
	case errors.Is(err, os.ErrPermission):
		class = errdefs.ErrPermissionDenied
	default:
		class = errdefs.ErrUnavailable
	}
	return &withClass{err, class}
}

// withClass is an error that has a class besides its own causes.
type withClass struct {
	error
	class error
}

func (e *withClass) Unwrap() []error { return []error{e.error, e.class} }

// classified reports whether an error has a class of the contract already.
func classified(err error) bool {
	for _, is := range []func(error) bool{
		errdefs.IsNotFound, errdefs.IsAlreadyExists, errdefs.IsInvalidArgument, errdefs.IsFailedPrecondition, errdefs.IsUnavailable,
		errdefs.IsNotImplemented, errdefs.IsPermissionDenied, errdefs.IsUnauthorized, errdefs.IsCanceled, errdefs.IsDeadlineExceeded,
	} {
		if is(err) {
			return true
		}
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
