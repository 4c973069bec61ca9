package podman

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/guard"
)

// Config says which service a driver talks to, for whom, and what it allows.
// The zero value is the service at its usual place, the owner "default", and
// nothing beyond the safe choice.
type Config struct {
	// Host is the service's address, such as "unix:///run/podman/podman.sock" or "tcp://10.0.0.5:8080".
	// Empty is CONTAINER_HOST; else, for root, unix:///run/podman/podman.sock, and for others podman/podman.sock
	// in XDG_RUNTIME_DIR (rootless).
	Host string
	// Owner is whose tasks, volumes and sandboxes the driver sees; see [driver.ValidName].
	// Empty is "default".
	Owner string
	// Allow is what tasks may have beyond the safe choice; it belongs to the installation.
	Allow Policy
	// Patience is how long a Wait or a log reader tries to reach a service that has
	// gone away before it gives up with Unavailable. Zero is 30 seconds.
	Patience time.Duration
	// Requests, if not nil, is called before each request to the service, by many goroutines at once: for logs and for counting. It
	// must not change the request.
	Requests func(*http.Request)
}

// Policy is what an installation allows. The zero value allows nothing.
type Policy struct {
	// Privileged, HostNetwork and NewPrivileges allow these fields of [driver.Security].
	Privileged, HostNetwork, NewPrivileges bool
	// HostPaths are the paths of the host, each with what is below it, that tasks may mount.
	HostPaths []string
	// Capabilities may be added, such as "NET_ADMIN"; "ALL" allows every one.
	Capabilities []string
}

// Validate reports what is wrong with the configuration, as InvalidArgument, or nil.
func (c *Config) Validate() error {
	var errs []error
	if c.Owner != "" {
		if err := driver.ValidName(c.Owner); err != nil {
			errs = append(errs, fmt.Errorf("Owner: %w", err))
		}
	}
	if c.Host != "" {
		_, err := parseHost(c.Host)
		errs = append(errs, err)
	}
	if c.Patience < 0 {
		errs = append(errs, driver.WithClass(errdefs.ErrInvalidArgument, "Patience: must not be negative"))
	}
	for _, p := range c.Allow.HostPaths {
		if !strings.HasPrefix(p, "/") {
			errs = append(errs, driver.WithClass(errdefs.ErrInvalidArgument, "Allow.HostPaths %q: must be absolute", p))
		}
	}
	return errors.Join(errs...)
}

// Driver is a [driver.Driver] on Podman, with every optional ability. It is safe for use by
// many goroutines.
type Driver struct {
	api        *client
	owner      string
	allow      Policy
	patience   time.Duration
	listTime   time.Duration // see there
	remainsAge time.Duration // see there
	secretAge  time.Duration // see there

	ctx    context.Context // ends with Close
	close  context.CancelCauseFunc
	tasks  sync.WaitGroup // goroutines that outlive a call
	closed atomic.Bool

	info    guard.Once[service]
	paused  guard.Once[bool]
	caps    guard.Once[driver.Capabilities]
	hub     *hub
	guards  *monitors
	pulls   flights
	starts  guard.Locks
	groups  supervisors
	fresh   guard.IDs    // containers made and not started by this value: only a hint
	ended   guard.IDs    // containers that this value has seen end: only a hint
	places  guard.IDs    // places for secrets, and directories, with their images: see fitting
	placing guard.Locks  // of images
	swept   atomic.Int64 // when the last sweep was, in nanoseconds
	bereft  guard.IDs    // containers whose conmon is gone: see monitors
	kills   guard.IDs    // containers that this value ends: it need not wonder who killed them
}

var (
	_ driver.Driver    = (*Driver)(nil)
	_ driver.Execer    = (*Driver)(nil)
	_ driver.Dialer    = (*Driver)(nil)
	_ driver.Eventer   = (*Driver)(nil)
	_ driver.Puller    = (*Driver)(nil)
	_ driver.Statser   = (*Driver)(nil)
	_ driver.Sandboxer = (*Driver)(nil)
)

var errClosed = driver.WithClass(errdefs.ErrUnavailable, "the driver was closed")

// New returns a driver for the configuration. It makes no connection: a service that is
// not there shows in the first call. The caller closes the driver.
func New(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &driver.Error{Op: "configure podman", Err: err}
	}
	host, err := resolveHost(cfg.Host)
	if err != nil {
		return nil, &driver.Error{Op: "configure podman", Err: err}
	}
	d := &Driver{owner: cfg.Owner, allow: cfg.Allow, patience: cfg.Patience, listTime: listTime, remainsAge: remainsAge, secretAge: secretAge}
	if d.owner == "" {
		d.owner = "default"
	}
	if d.patience == 0 {
		d.patience = 30 * time.Second
	}
	d.api = newClient(host)
	d.api.hook = cfg.Requests
	d.ctx, d.close = context.WithCancelCause(context.Background())
	d.hub = newHub(d)
	d.guards = &monitors{d: d, after: 10 * time.Second, all: map[string]*monitor{}}
	return d, nil
}

// begin returns the context of a call, which also ends when the driver is closed.
func (d *Driver) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// detached returns a context for what must be finished although the call's own context
// has ended: at most cleanupTime.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}

const cleanupTime = 30 * time.Second

// Close ends the driver's connections and goroutines. See [driver.Driver].
func (d *Driver) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.close(errClosed)
	done := make(chan struct{})
	go func() {
		d.tasks.Wait()
		close(done)
	}()
	timeout := time.NewTimer(4 * time.Second)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
	return d.api.Close()
}

// Capabilities asks the service, once. See [driver.Driver].
func (d *Driver) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	ctx, done := d.begin(ctx)
	defer done()
	caps, err := d.caps.Do(ctx, d.capabilities)
	return caps, driver.Wrap(ctx, "capabilities", "", classify(err))
}

func (d *Driver) capabilities(ctx context.Context) (driver.Capabilities, error) {
	info, err := d.info.Do(ctx, d.ask)
	if err != nil {
		return driver.Capabilities{}, err
	}
	mode := "rootful"
	if info.Host.Security.Rootless {
		mode = "rootless"
	}
	return driver.Capabilities{
		Runtime: fmt.Sprintf("podman %s (%s)", info.Version.Version, mode),
		OS:      info.Host.OS, Arch: info.Host.Arch,
		Exec: true, Dial: true, Events: true, Pull: true, Stats: info.measures(), Sandboxes: true,
		Init: true, Services: true,
		NetworkOwn: info.isolates(), NetworkNone: true, DNS: true, Hosts: true, Hostname: true,
		CPULimit: info.controls("cpu"), MemoryLimit: info.controls("memory"), PIDLimit: info.controls("pids"),
		Secrets:         true,
		Privileged:      d.allow.Privileged,
		HostNetwork:     d.allow.HostNetwork,
		HostPaths:       len(d.allow.HostPaths) > 0,
		AddCapabilities: len(d.allow.Capabilities) > 0,
		NewPrivileges:   d.allow.NewPrivileges,
	}, nil
}

// service is what the service says of itself.
type service struct {
	Host struct {
		Arch, OS          string
		CgroupVersion     string
		CgroupControllers []string
		NetworkBackend    string
		// NetworkBackendInfo is empty before Podman 4.6.
		NetworkBackendInfo struct{ Version string }
		Security           struct {
			Rootless     bool
			Capabilities string
		}
	}
	Version struct{ Version string }
	// Store has bytes of the disk of images and containers; zero before Podman 4.1.
	Store struct{ GraphRootAllocated, GraphRootUsed int64 }
}

// controls reports whether limits hold. Without root, a control group's controllers must have been delegated, which
// takes version 2.
func (s service) controls(controller string) bool {
	return !s.Host.Security.Rootless || slices.Contains(s.Host.CgroupControllers, controller)
}

// measures reports whether Podman says what a container uses, which without root takes control groups of version 2, too.
func (s service) measures() bool { return !s.Host.Security.Rootless || s.Host.CgroupVersion != "v1" }

// isolates reports whether networks are kept apart from each other. Netavark 1.4 promises that, and forgets its rules when another
// container leaves; which version it is, older services do not say.
func (s service) isolates() bool {
	if s.Host.NetworkBackend != "netavark" {
		return true
	}
	var major, minor int
	_, err := fmt.Sscanf(s.Host.NetworkBackendInfo.Version, "netavark %d.%d", &major, &minor)
	return err == nil && (major > 1 || minor >= 5)
}

func (s service) capabilities() []string { return strings.Split(s.Host.Security.Capabilities, ",") }

func (d *Driver) ask(ctx context.Context) (s service, err error) {
	err = d.api.call(ctx, "GET", "/info", nil, nil, &s)
	return s, err
}
