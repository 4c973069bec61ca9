//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Dial connects to a port inside a task. See [driver.Dialer].
func (d *Driver) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	call, done := d.begin(ctx)
	defer done()
	conn, err := d.dialTask(call, id, port)
	return conn, driver.Wrap(call, "dial", fmt.Sprintf("%s port %d", id, port), classify(err))
}

func (d *Driver) dialTask(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return nil, err
	}
	if port < 1 || port > 65535 {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "port %d: must be 1 to 65535", port)
	}
	s, err := d.inspect(ctx, h, h.container)
	if err != nil {
		return nil, err
	}
	if s.phase != phaseRunning {
		return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "the task does not run")
	}
	return d.dialPID(ctx, s.task.Pid, port)
}

// dialIn connects to a port in the network namespace of a container that runs.
func (d *Driver) dialIn(ctx context.Context, h handle, id string, port int) (net.Conn, error) {
	s, err := d.inspect(ctx, h, id)
	if err != nil {
		return nil, err
	}
	if s.phase != phaseRunning {
		return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "the container does not run")
	}
	return d.dialPID(ctx, s.task.Pid, port)
}

func (d *Driver) dialPID(ctx context.Context, pid uint32, port int) (conn net.Conn, err error) {
	// A socket stays in the namespace that it was made in. The dialler makes it on the thread that calls.
	err = inNetns(fmt.Sprintf("/proc/%d/ns/net", pid), func() error {
		for _, host := range []string{"127.0.0.1", "::1"} {
			var dialErr error
			if conn, dialErr = new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port))); dialErr == nil {
				return nil
			}
			if err == nil {
				err = dialErr
			}
			if !errors.Is(dialErr, syscall.ECONNREFUSED) {
				return dialErr
			}
		}
		return err
	})
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, driver.WithClass(errdefs.ErrUnavailable, "nothing listens on port %d: %v", port, err)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}
