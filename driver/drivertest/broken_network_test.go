package drivertest_test

import (
	"context"
	"io"
	"net"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

func brokenServices() map[string]breakage {
	unready := spec(func(s *driver.TaskSpec) {
		for i := range s.Services {
			s.Services[i].Ready = driver.Ready{}
		}
	})
	return map[string]breakage{
		"init-order": spec(func(s *driver.TaskSpec) {
			if len(s.Init) > 1 {
				s.Init = append(s.Init[1:], s.Init[0])
			}
		}),
		"init-fails": spec(func(s *driver.TaskSpec) {
			if len(s.Init) > 0 {
				s.Init = s.Init[:1]
			}
		}),
		"init-cannot-start": outcome(driver.StartFailed, 127, 0),
		"localhost":         spec(func(s *driver.TaskSpec) { s.Services = nil }),
		"by-name":           spec(func(s *driver.TaskSpec) { s.Network.Hosts = nil }),
		"two":               dropLine(`"betweenend"`),
		"ready-tcp":         unready,
		"ready-exec":        unready,
		"never-ready-tcp":   hurried(unready),
		"never-ready-exec":  hurried(unready),
		"dies": hurried(spec(func(s *driver.TaskSpec) {
			if len(s.Services) > 0 {
				s.Services = s.Services[1:]
			}
		})),
		"dies-before-ready": spec(func(s *driver.TaskSpec) { s.Services = nil }),
		"ended":             dropLine("got TERM"),
		"ended-by-force":    outcome(driver.ServiceFailed, 3, 0),
		"stopped":           dropLine("got TERM"),
	}
}

func brokenNetwork() map[string]breakage {
	open := spec(func(s *driver.TaskSpec) { s.Network.Mode = driver.NetworkDefault })
	return map[string]breakage{
		"init":               spec(func(s *driver.TaskSpec) { s.Network.Mode = driver.NetworkNone }),
		"own-ports":          shared,
		"own-unreachable":    open,
		"own-from-default":   open,
		"own-forty":          thirtyNetworks,
		"none":               open,
		"dns":                hurried(spec(func(s *driver.TaskSpec) { s.Network.DNS = nil })),
		"hosts":              spec(func(s *driver.TaskSpec) { s.Network.Hosts = nil }),
		"hosts-services":     hurried(spec(func(s *driver.TaskSpec) { s.Network.Hosts = nil })),
		"dial-localhost":     dialled(func(driver.TaskID, int) error { return driver.WithClass(errdefs.ErrUnavailable, "refused") }),
		"dial-all-addresses": claims(func(c *driver.Capabilities) { c.Dial = false }),
		"dial-service":       dialled(func(driver.TaskID, int) error { return driver.WithClass(errdefs.ErrUnavailable, "refused") }),
		"dial-no-network":    dialled(func(driver.TaskID, int) error { return driver.WithClass(errdefs.ErrUnavailable, "refused") }),
		"dial-many":          oneConnection,
		"dial-large":         connections(func(c net.Conn) net.Conn { return &shortConn{Conn: c, left: 20 << 20} }),
		"dial-ended":         dialAlways,
	}
}

// shared puts every task into one sandbox.
func shared(h *drivertest.Harness) {
	with(func(h *hooks) {
		var box driver.SandboxID
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			if box == "" {
				var err error
				if box, err = driver.CreateSandbox(ctx, d, driver.SandboxSpec{Name: "shared"}); err != nil {
					return "", err
				}
			}
			s.Sandbox = box
			return d.Create(ctx, s)
		}
		h.close = func(d driver.Driver) error {
			driver.RemoveSandbox(context.Background(), d, box)
			return d.Close()
		}
	})(h)
}

// thirtyNetworks has no address for the thirty-first task.
func thirtyNetworks(h *drivertest.Harness) {
	with(func(h *hooks) {
		var calls counter
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			if calls.next() > 31 {
				return "", driver.Wrap(ctx, "create", s.Name, driver.WithClass(errdefs.ErrUnavailable, "could not find an available address pool"))
			}
			return d.Create(ctx, s)
		}
	})(h)
}

// dialer is a driver with a Dial of its own.
type dialer struct {
	*hooks
	dial func(ctx context.Context, d driver.Driver, id driver.TaskID, port int) (net.Conn, error)
}

func (d dialer) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	return d.dial(ctx, d.Driver, id, port)
}

func dials(dial func(ctx context.Context, d driver.Driver, id driver.TaskID, port int) (net.Conn, error)) breakage {
	return func(h *drivertest.Harness) {
		open := h.Open
		h.Open = func(ctx context.Context, owner string) (driver.Driver, error) {
			d, err := open(ctx, owner)
			return dialer{&hooks{Driver: d}, dial}, err
		}
	}
}

// dialled fails as f says.
func dialled(f func(driver.TaskID, int) error) breakage {
	return dials(func(ctx context.Context, d driver.Driver, id driver.TaskID, port int) (net.Conn, error) {
		if err := f(id, port); err != nil {
			return nil, driver.Wrap(ctx, "dial", string(id), err)
		}
		return driver.Dial(ctx, d, id, port)
	})
}

// connections changes what Dial returns.
func connections(change func(net.Conn) net.Conn) breakage {
	return dials(func(ctx context.Context, d driver.Driver, id driver.TaskID, port int) (net.Conn, error) {
		c, err := driver.Dial(ctx, d, id, port)
		if err != nil {
			return nil, err
		}
		return change(c), nil
	})
}

// oneConnection refuses a second one.
func oneConnection(h *drivertest.Harness) {
	var calls counter
	dialled(func(driver.TaskID, int) error {
		if calls.next() > 1 {
			return driver.WithClass(errdefs.ErrUnavailable, "there is a connection already")
		}
		return nil
	})(h)
}

// dialAlways has a connection also to what does not run.
func dialAlways(h *drivertest.Harness) {
	dials(func(ctx context.Context, d driver.Driver, id driver.TaskID, port int) (net.Conn, error) {
		c, err := driver.Dial(ctx, d, id, port)
		if err != nil {
			c, _ = net.Pipe()
		}
		return c, nil
	})(h)
}

// shortConn ends what is read too early.
type shortConn struct {
	net.Conn
	left int
}

func (c *shortConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (c *shortConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}
