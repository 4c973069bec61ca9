package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Dial connects to a port in a task. See [driver.Dialer].
func (d *Driver) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	w, err := d.open(ctx, "Dial", onTask[int]{id, port})
	if err != nil {
		return nil, driver.Wrap(ctx, "dial", string(id), err)
	}
	return connect(d, w), nil
}

// conn is a connection into a task. Its halves are pipes, which have deadlines; goroutines carry what is in them over the wire.
type conn struct {
	in, out net.Conn
	w       *wire
	sent    chan struct{} // closed when all was sent that was written
	mu      sync.Mutex
	err     error // why what the task sends broke off
}

func connect(d *Driver, w *wire) *conn {
	c := &conn{w: w, sent: make(chan struct{})}
	var read, written net.Conn
	c.in, read = net.Pipe()
	c.out, written = net.Pipe()
	o := newOutlet(w)
	var in inlet
	in.init(w)
	stop := context.AfterFunc(d.ctx, func() { c.end(errClosed); read.Close() }) // also when nobody reads
	go func() {
		defer close(c.sent)
		if o.send(written) != nil {
			w.Close()
		}
		written.Close()
	}()
	go func() {
		_, err := io.Copy(read, &in)
		c.end(err)
		read.Close()
		stop()
	}()
	go func() {
		err := c.receive(d, o, &in)
		in.fail(err)
		o.close()
		written.Close()
		w.Close()
	}()
	return c
}

// receive takes what comes from the server, until that is done with the connection, and returns why there is no more.
func (c *conn) receive(d *Driver, o *outlet, in *inlet) error {
	for {
		k, payload, err := c.w.receive()
		switch {
		case err != nil:
			return d.fault(err)
		case k == kindData:
			in.add(payload)
		case k == kindEnd:
			in.end()
		case k == kindBroken:
			in.fail(errors.New(string(payload)))
		case k == kindTaken:
			o.taken(payload)
		case k == kindAnswer:
			if err := decode(payload, nil); err != nil {
				return err
			}
			return io.ErrUnexpectedEOF // unless the end came before
		}
	}
}

func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if err == io.EOF {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil {
			err = c.err
		}
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) { return c.out.Write(p) }

// CloseWrite ends what the task reads.
func (c *conn) CloseWrite() error { return c.out.Close() }

// Close ends both directions; what was written is still delivered.
func (c *conn) Close() error {
	err := errors.Join(c.in.Close(), c.out.Close())
	t := time.NewTimer(parting)
	defer t.Stop()
	select {
	case <-c.sent:
	case <-t.C:
	}
	c.w.Close() // it may have ended before
	return err
}

func (c *conn) LocalAddr() net.Addr  { return c.w.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.w.RemoteAddr() }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetDeadline(t), c.out.SetDeadline(t))
}
func (c *conn) SetReadDeadline(t time.Time) error  { return c.in.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }
