package docker

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
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/conns"
	"github.com/wharfci/wharf/driver/internal/guard"
	"github.com/wharfci/wharf/driver/internal/seal"
)

// Config says which daemon a driver talks to, for whom, and what it allows.
// The zero value is the daemon that the Docker command line would use, the owner "default", and
// nothing beyond the safe choice.
type Config struct {
	// Host is the daemon's address, such as "unix:///var/run/docker.sock" or "tcp://10.0.0.5:2375".
	// Empty resolves as the Docker command line does: DOCKER_HOST, the current
	// context, unix:///var/run/docker.sock, and docker.sock in XDG_RUNTIME_DIR (rootless).
	Host string
	// Owner is whose tasks, volumes and sandboxes the driver sees; see [driver.ValidName].
	// Empty is "default".
	Owner string
	// Allow is what tasks may have beyond the safe choice; it belongs to the installation.
	Allow Policy
	// Patience is how long a Wait or a log reader tries to reach a daemon that has
	// gone away before it gives up with Unavailable. Zero is 30 seconds.
	Patience time.Duration
	// SealKey, of 16 bytes or more, has the secrets of a task with init containers or services kept, encrypted with it, in the configuration of a container of that task
	// until the task is started, rather than written into the containers when these are made: a daemon before Docker 23 starts a process for that, which takes longer than all the rest of Create.
	// It is for whoever makes more tasks than are started at once. Every process that starts these tasks needs the same key. Until the start the files are not there for CopyIn and CopyOut; the encrypted
	// ones stay in that configuration until Remove. Nil is none.
	SealKey []byte
	// Requests, if not nil, is called before each request to the daemon, by many goroutines at once: for logs and for counting. It
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
		errs = append(errs, validHost(c.Host))
	}
	if c.Patience < 0 {
		errs = append(errs, driver.WithClass(errdefs.ErrInvalidArgument, "Patience: must not be negative"))
	}
	if c.SealKey != nil && len(c.SealKey) < seal.Shortest {
		errs = append(errs, driver.WithClass(errdefs.ErrInvalidArgument, "SealKey: has %d bytes; %d are the least", len(c.SealKey), seal.Shortest))
	}
	for _, p := range c.Allow.HostPaths {
		if !strings.HasPrefix(p, "/") {
			errs = append(errs, driver.WithClass(errdefs.ErrInvalidArgument, "Allow.HostPaths %q: must be absolute", p))
		}
	}
	return errors.Join(errs...)
}

// Driver is a [driver.Driver] on Docker, with every optional ability. It is safe for use by
// many goroutines.
type Driver struct {
	api      *client.Client
	owner    string
	allow    Policy
	patience time.Duration
	sealKey  []byte

	ctx    context.Context // ends with Close
	close  context.CancelCauseFunc
	tasks  sync.WaitGroup // goroutines that outlive a call
	closed atomic.Bool
	conns  conns.List

	caps   guard.Once[driver.Capabilities]
	paused guard.Once[bool]
	hub    *hub
	pulls  flights
	starts guard.Locks
	groups supervisors
	fresh  guard.IDs // containers made and not started by this value: only a hint
	ended  guard.IDs // containers that this value has seen end: only a hint

	unwritten sync.Map // of main containers: why the secrets could not be written, for those who wait in this process

	starved, fed guard.IDs // containers that failed, for want of memory or not: see starvation

	server atomic.Value
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

// New returns a driver for the configuration. It makes no connection: a daemon that is
// not there shows in the first call. The caller closes the driver.
func New(cfg Config) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &driver.Error{Op: "configure docker", Err: err}
	}
	host, err := resolveHost(cfg.Host)
	if err != nil {
		return nil, &driver.Error{Op: "configure docker", Err: err}
	}
	d := &Driver{owner: cfg.Owner, allow: cfg.Allow, patience: cfg.Patience, sealKey: slices.Clone(cfg.SealKey)}
	if d.owner == "" {
		d.owner = "default"
	}
	if d.patience == 0 {
		d.patience = 30 * time.Second
	}
	d.server.Store("")
	opts := append(host.options(&d.conns), client.WithHTTPResponseHook(d.seen))
	if cfg.Requests != nil {
		opts = append(opts, client.WithHTTPRequestHook(func(r *http.Request) error { cfg.Requests(r); return nil }))
	}
	d.api, err = client.New(opts...)
	if err != nil {
		return nil, &driver.Error{Op: "configure docker", Subject: host.address, Err: driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)}
	}
	d.ctx, d.close = context.WithCancelCause(context.Background())
	d.hub = newHub(d)
	return d, nil
}

// seen notes the daemon's version, which it sends with each answer.
func (d *Driver) seen(resp *http.Response) {
	if v, ok := strings.CutPrefix(resp.Header.Get("Server"), "Docker/"); ok && d.server.Load() == "" {
		version, _, _ := strings.Cut(v, " ")
		d.server.Store(version)
	}
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
	d.conns.Close(errClosed)
	return d.api.Close()
}

// Capabilities asks the daemon, once. See [driver.Driver].
func (d *Driver) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	ctx, done := d.begin(ctx)
	defer done()
	caps, err := d.caps.Do(ctx, d.capabilities)
	return caps, driver.Wrap(ctx, "capabilities", "", classify(err))
}

func (d *Driver) capabilities(ctx context.Context) (driver.Capabilities, error) {
	v, err := d.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return driver.Capabilities{}, err
	}
	return driver.Capabilities{
		Runtime: fmt.Sprintf("docker %s (API %s)", v.Version, d.api.ClientVersion()),
		OS:      v.Os, Arch: v.Arch,
		Exec: true, Dial: true, Events: true, Pull: true, Stats: true, Sandboxes: true,
		Init: true, Services: true,
		NetworkOwn: true, NetworkNone: true, DNS: true, Hosts: true, Hostname: true,
		VolumeSubPath: atLeast(d.api.ClientVersion(), 1, 45),
		CPULimit:      true, MemoryLimit: true, PIDLimit: true,
		Secrets:         true,
		Privileged:      d.allow.Privileged,
		HostNetwork:     d.allow.HostNetwork,
		HostPaths:       len(d.allow.HostPaths) > 0,
		AddCapabilities: len(d.allow.Capabilities) > 0,
		NewPrivileges:   d.allow.NewPrivileges,
	}, nil
}

// atLeast reports whether a version "major.minor…" is not older than the one given.
func atLeast(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(version, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}
