package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/relay"
)

// Dial connects to a port of a task. See [driver.Dialer]. Each connection is a helper container in the task's network, to which
// the driver is attached.
func (d *Driver) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	call, done := d.begin(ctx)
	defer done()
	conn, err := d.dial(call, id, port)
	if err != nil {
		return nil, driver.Wrap(call, "dial", fmt.Sprintf("%s port %d", id, port), classify(err))
	}
	return conn, nil
}

func (d *Driver) dial(ctx context.Context, id driver.TaskID, port int) (_ net.Conn, err error) {
	h, err := d.parse(string(id))
	if err != nil {
		return nil, err
	}
	if port < 1 || port > 65535 {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "port %d: must be 1 to 65535", port)
	}
	w, leave := d.hub.watch(h.container, false) // from now on, so that the task's end is not missed
	defer func() {
		if err != nil {
			leave()
		}
	}()
	main, err := d.running(ctx, h.container)
	if err != nil {
		return nil, err
	}
	m := &maker{Driver: d, spec: &driver.TaskSpec{}, uid: newUID()}
	conn, err := m.connect(ctx, main, port)
	if err != nil {
		return nil, m.giveUp(ctx, conn, main.ID, err)
	}
	d.tasks.Go(func() {
		defer leave()
		m.hold(conn, main.ID, w)
	})
	return conn, nil
}

// running returns a main container, if it runs.
func (d *Driver) running(ctx context.Context, id string) (*container.InspectResponse, error) {
	main, err := d.inspect(ctx, id)
	if err == nil && phaseOf(main) != phaseRunning {
		err = driver.WithClass(errdefs.ErrFailedPrecondition, "the task does not run")
	}
	return main, err
}

// giveUp takes away what was made for a connection, and returns why there is none: err, or that the task has ended meanwhile.
func (m *maker) giveUp(ctx context.Context, conn *relay.Conn, main string, err error) error {
	if conn != nil {
		_ = conn.Close()
		conn.Finish(0)
	}
	undoErr := m.undo(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // and not that the connection was closed therefore
	} else if _, ended := m.running(ctx, main); ended != nil {
		err = ended
	}
	return errors.Join(err, undoErr)
}

// helperFor makes the helper. It is in a namespace of processes of its own: the task neither sees it nor reaches it but by the port. The
// daemon removes it when it has ended, as it does when nobody is attached any more or the port's process has gone.
func (m *maker) helperFor(ctx context.Context, main *container.InspectResponse, port int) (string, error) {
	labels := m.labels(kindHelper, main.Config.Labels[labelName], m.uid, userLabels(main.Config.Labels))
	labels[labelDialled] = main.ID
	return m.create(ctx, nil, func() client.ContainerCreateOptions {
		opts := pauseOptions("wharf_"+m.owner+"__dial_"+m.uid, labels, "", container.HostConfig{
			NetworkMode: container.NetworkMode("container:" + main.ID), AutoRemove: true,
		})
		opts.Config.Cmd = []string{strconv.Itoa(port)}
		opts.Config.OpenStdin, opts.Config.StdinOnce = true, true
		opts.Config.AttachStdin, opts.Config.AttachStdout = true, true
		return opts
	})
}

// connect makes and starts the helper, and returns when it is connected.
func (m *maker) connect(ctx context.Context, main *container.InspectResponse, port int) (*relay.Conn, error) {
	id, err := m.helperFor(ctx, main, port)
	if err != nil {
		return nil, err
	}
	live, err := m.api.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		return nil, err
	}
	conn := relay.New(live.Conn, live.Reader, handleOf(main.ID, main.Config.Labels).String(), port)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	if _, err = m.api.ContainerStart(ctx, id, client.ContainerStartOptions{}); err == nil {
		err = conn.Connected()
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return conn, err
}

// linger is how long a connection that was closed lets what was written go its way to a task that does not read.
const linger = time.Second

// closeTime is how long the removal of helpers may take when the driver is closed, which waits for a little longer than for this and the
// lingering.
const closeTime = 2 * time.Second

// hold takes the helper away when the connection, or the driver, is closed.
func (m *maker) hold(conn *relay.Conn, main string, w *waker) {
	defer context.AfterFunc(m.ctx, func() { _ = conn.Close() })()
	m.untilEnded(conn, main, w)
	<-conn.Done()
	conn.Finish(linger)
	ctx, cancel := detached(m.ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, func() { time.AfterFunc(closeTime, cancel) })()
	for _, id := range m.made {
		_ = m.removeContainer(ctx, id) // the daemon does it, too
	}
}

// untilEnded ends what is sent when the task has ended, and with it the helper once what the task has sent was read: a caller need not
// close what has nothing to say any more.
func (m *maker) untilEnded(conn *relay.Conn, main string, w *waker) {
	for {
		select {
		case <-conn.Done():
			return
		case <-w.ch:
		}
		if _, err := m.running(m.ctx, main); errdefs.IsFailedPrecondition(err) || errdefs.IsNotFound(err) {
			_ = conn.CloseWrite()
			return
		}
	}
}

// isStray reports whether a container is a helper that does not run and whose task, of those that are there, is gone. The process that made it has died
// before it started it, and nobody else would find it.
func isStray(c container.Summary, tasks map[string]bool) bool {
	return c.Labels[labelDialled] != "" && !tasks[c.Labels[labelDialled]] && c.State != container.StateRunning
}
