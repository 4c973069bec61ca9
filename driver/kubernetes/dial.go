package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Dial connects to a port of a task. See [driver.Dialer]. The connection goes over the keeper, which is in the task's network.
func (d *Driver) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	call, done := d.begin(ctx)
	c, err := d.dial(call, id, port)
	done()
	if err != nil {
		return nil, driver.Wrap(ctx, "dial", fmt.Sprintf("%s:%d", id, port), classify(err))
	}
	return c, nil
}

func (d *Driver) dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	if port < 1 || port > 65535 {
		return nil, driver.WithClass(errdefs.ErrInvalidArgument, "port %d: must be 1 to 65535", port)
	}
	h, err := d.parse(string(id))
	if err != nil {
		return nil, err
	}
	// The connection outlives the call, but not the driver.
	life, cancel := context.WithCancelCause(d.ctx)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	c, err := d.callTask(life, h, wire.Request{Op: wire.OpDial, Port: port})
	if err == nil {
		if err = c.understood(); err != nil {
			c.close()
		}
	}
	if !stop() && err == nil {
		c.close()
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return newConn(c, cancel, string(id), port), nil
}

// conn is a connection over a call. A [net.Pipe] gives it its deadlines.
type conn struct {
	net.Conn // our end of the pipe
	call     *call
	cancel   context.CancelCauseFunc
	addr     addr
	write    net.Conn      // our end of the pipe for what is written
	sent     chan struct{} // closed when all that was written is on its way
	once     sync.Once
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

func newConn(c *call, cancel context.CancelCauseFunc, id string, port int) *conn {
	readOurs, readTheirs := net.Pipe()
	writeOurs, writeTheirs := net.Pipe()
	k := &conn{Conn: readOurs, call: c, cancel: cancel, addr: addr(fmt.Sprintf("%s:%d", id, port)), write: writeOurs, sent: make(chan struct{})}
	go func() { // ends with the call
		defer readTheirs.Close()
		_, _ = c.answer(func(kind byte, payload []byte) error {
			switch kind {
			case wire.FrameData:
				_, err := readTheirs.Write(payload)
				return err
			case wire.FrameEnd:
				return readTheirs.Close()
			}
			return nil
		})
		writeTheirs.Close()
	}()
	go func() { // ends when the writing end is closed
		defer close(k.sent)
		_, err := io.CopyBuffer(struct{ io.Writer }{c.Writer(wire.FrameData)}, struct{ io.Reader }{writeTheirs}, make([]byte, 64<<10))
		if err == nil {
			_ = c.Write(wire.FrameEnd, nil)
		}
		writeTheirs.Close()
	}()
	return k
}

func (k *conn) Write(p []byte) (int, error) { return k.write.Write(p) }

// CloseWrite ends what the task reads.
func (k *conn) CloseWrite() error { return k.write.Close() }

// SetDeadline, SetWriteDeadline: the ends of the two directions are two pipes.
func (k *conn) SetDeadline(t time.Time) error {
	return errors.Join(k.Conn.SetDeadline(t), k.write.SetWriteDeadline(t))
}
func (k *conn) SetWriteDeadline(t time.Time) error { return k.write.SetWriteDeadline(t) }

// linger is how long Close lets what was written go its way to a task that does not read.
const linger = time.Second

func (k *conn) Close() error {
	k.once.Do(func() {
		k.write.Close()
		k.Conn.Close()
		limit := time.NewTimer(linger)
		defer limit.Stop()
		select {
		case <-k.sent:
		case <-limit.C:
		}
		k.call.close()
		k.cancel(nil)
	})
	return nil
}

func (k *conn) RemoteAddr() net.Addr { return k.addr }
func (k *conn) LocalAddr() net.Addr  { return addr("wharf") }
