//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/guard"
)

// Config says which daemon a driver talks to, for whom, where it keeps what containerd has no place for, and what it
// allows. The zero value is the daemon at the usual socket, the owner "default", the usual
// directories, and nothing beyond the safe choice.
type Config struct {
	// Address is the path of the daemon's socket, with or without "unix://". Empty is CONTAINERD_ADDRESS, or
	// else /run/containerd/containerd.sock.
	Address string
	// Namespace is containerd's namespace for everything of this driver. Empty is "wharf".
	Namespace string
	// Owner is whose tasks, volumes and sandboxes the driver sees; see [driver.ValidName].
	// Empty is "default".
	Owner string
	// Root is the directory for volumes and logs. It must be the same for all processes that share
	// tasks. Empty is /var/lib/wharf/containerd.
	Root string
	// State is the directory for what a restart of the machine may forget: network namespaces and secrets. It
	// should be on a tmpfs. Empty is /run/wharf/containerd.
	State string
	// Cgroup is the control group that those of the containers are in, an absolute path below the root of the
	// hierarchy. It is made if it is not there, and stays. Empty is "/" and the Namespace.
	Cgroup string
	// Snapshotter keeps the containers' file systems. Empty is "overlayfs".
	Snapshotter string
	// CNI is where the network plugins are; empty is /opt/cni/bin and /usr/lib/cni.
	CNI []string
	// Subnet is the range of the tasks' addresses, in CIDR notation. It is cut in two: for the default
	// network, and for [driver.NetworkOwn]. Empty is 10.87.0.0/16.
	Subnet string
	// PlainHTTP are registries, as host or host:port, that are asked without TLS. Those on
	// this machine (localhost, 127.0.0.0/8) always are.
	PlainHTTP []string
	// Allow is what tasks may have beyond the safe choice; it belongs to the installation.
	Allow Policy
	// Patience is how long a Wait or a log reader tries to reach a daemon that has
	// gone away before it gives up with Unavailable. Zero is 30 seconds.
	Patience time.Duration
	// Calls, if not nil, is called with the method's name before each call of the daemon, by many goroutines at once: for logs and
	// for counting.
	Calls func(method string)
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
	invalid := func(format string, args ...any) {
		errs = append(errs, driver.WithClass(errdefs.ErrInvalidArgument, format, args...))
	}
	if c.Owner != "" {
		if err := driver.ValidName(c.Owner); err != nil {
			errs = append(errs, fmt.Errorf("Owner: %w", err))
		}
	}
	if a := strings.TrimPrefix(c.Address, "unix://"); c.Address != "" && !filepath.IsAbs(a) {
		invalid("Address %q: must be the path of a socket, such as /run/containerd/containerd.sock", c.Address)
	}
	for field, dir := range map[string]string{"Root": c.Root, "State": c.State} {
		if dir != "" && !filepath.IsAbs(dir) {
			invalid("%s %q: must be absolute", field, dir)
		}
	}
	if c.Cgroup != "" && (!filepath.IsAbs(c.Cgroup) || filepath.Clean(c.Cgroup) != c.Cgroup || c.Cgroup == "/") {
		invalid("Cgroup %q: must be an absolute path without . or .., such as /builds", c.Cgroup)
	}
	if c.Namespace != "" {
		if err := driver.ValidName(c.Namespace); err != nil {
			errs = append(errs, fmt.Errorf("Namespace: %w", err))
		}
	}
	if _, err := c.subnets(); err != nil {
		errs = append(errs, err)
	}
	if c.Patience < 0 {
		invalid("Patience: must not be negative")
	}
	for _, p := range c.Allow.HostPaths {
		if !filepath.IsAbs(p) {
			invalid("Allow.HostPaths %q: must be absolute", p)
		}
	}
	return errors.Join(errs...)
}

// WithDefaults returns the configuration with every empty field filled in.
func (c Config) WithDefaults() Config {
	fill := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	fill(&c.Address, addressFromEnv())
	c.Address = strings.TrimPrefix(c.Address, "unix://")
	fill(&c.Namespace, "wharf")
	fill(&c.Cgroup, "/"+c.Namespace)
	fill(&c.Owner, "default")
	fill(&c.Root, "/var/lib/wharf/containerd")
	fill(&c.State, "/run/wharf/containerd")
	fill(&c.Snapshotter, "overlayfs")
	fill(&c.Subnet, "10.87.0.0/16")
	if len(c.CNI) == 0 {
		c.CNI = []string{"/opt/cni/bin", "/usr/lib/cni"}
	}
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	return c
}

// Driver is a [driver.Driver] on containerd, with every optional ability. It is safe for use by
// many goroutines.
type Driver struct {
	cfg    Config
	owner  string
	conn   *grpc.ClientConn
	client *client.Client

	ctx    context.Context // ends with Close
	close  context.CancelCauseFunc
	tasks  sync.WaitGroup // goroutines that outlive a call
	closed atomic.Bool

	caps   guard.Once[driver.Capabilities]
	hub    hub
	images imageCache
	files  watcher
	pulls  guard.Locks
	starts guard.Locks
	groups supervisors
	nets   guard.Once[*networks]
	broad  guard.IDs // filters that select many tasks: only a hint

	bundles               atomic.Pointer[string] // where the daemon's bundles are, once a shim has shown it
	helpAfter, noticeTime time.Duration          // see the constants
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
		return nil, &driver.Error{Op: "configure containerd", Err: err}
	}
	cfg = cfg.WithDefaults()
	conn, err := connect(cfg.Address, cfg.Calls)
	if err != nil {
		return nil, &driver.Error{Op: "configure containerd", Err: err}
	}
	api, err := client.NewWithConn(conn)
	if err != nil {
		conn.Close()
		return nil, &driver.Error{Op: "configure containerd", Err: err}
	}
	d := &Driver{cfg: cfg, owner: cfg.Owner, conn: conn, client: api, helpAfter: helpAfter, noticeTime: noticeTime}
	d.ctx, d.close = context.WithCancelCause(namespaces.WithNamespace(context.Background(), cfg.Namespace))
	d.hub.d, d.files.d = d, d
	return d, nil
}

// begin returns the context of a call: it ends with the caller's and with Close, and carries containerd's namespace.
func (d *Driver) begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(namespaces.WithNamespace(ctx, d.cfg.Namespace))
	stop := context.AfterFunc(d.ctx, func() { cancel(errClosed) })
	if d.closed.Load() {
		cancel(errClosed)
	}
	return ctx, func() { stop(); cancel(nil) }
}

// detached returns a context for clearing up, which goes on when the caller's has ended.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

// Close ends the connection and the goroutines of the driver. See [driver.Driver].
func (d *Driver) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	d.close(errClosed)
	ended := make(chan struct{})
	go func() { d.tasks.Wait(); close(ended) }()
	limit := time.NewTimer(4 * time.Second)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
	}
	if err := d.conn.Close(); err != nil {
		return &driver.Error{Op: "close", Err: err}
	}
	return nil
}
