// Package relay is a connection into a task by way of a helper: a process of the program [bare.Pause] that was started
// in the task's network namespace, with the port as its argument, to whose stdin and stdout a driver is attached.
//
// The process first says by one byte how connecting went: 0, or the number of the error. From then on either direction is a
// series of frames: a length of four bytes, the lowest first, and as many bytes. A frame of no bytes ends its direction. So a runtime need
// not be able to close half of a stream, and an end is told from a stream that broke off. When both directions
// have ended, so does the process; and when it has sent all that came before the length closing, or before the end of its stdin, which is how
// it learns that nobody is attached any more.
//
// The runtimes, Docker and Podman after it, wrap its stdout in frames of their own: the stream, three bytes, and a length, the highest byte first.
package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

const (
	maxFrame = 64 << 10   // of what is sent, and of what the program sends
	closing  = ^uint32(0) // ends the program
	refused  = 111        // ECONNREFUSED of Linux, which this process need not run on
)

// Conn is the connection. Deadlines are those of the attached stream.
type Conn struct {
	raw  net.Conn
	to   addr
	done chan struct{} // closed by Close

	reading sync.Mutex
	in      framed
	ended   bool // the task will send nothing more

	writing  sync.Mutex
	finished bool   // we shall send nothing more
	head     []byte // of the frame that is being sent
	owed     int    // bytes of it that are still to come
	buf      []byte

	state  sync.Mutex // of what follows, and of the deadlines of raw
	closed atomic.Bool
}

// New returns the connection to a port of a task. What the runtime sends is read from r, which reads from raw.
func New(raw net.Conn, r io.Reader, task string, port int) *Conn {
	c := &Conn{raw: raw, to: addr(fmt.Sprintf("%s:%d", task, port)), done: make(chan struct{})}
	c.in.r = &framed{r: r, header: make([]byte, 8), length: stdoutLength}
	c.in.header, c.in.length = make([]byte, 4), frameLength
	return c
}

// Connected returns how connecting went: nil, Unavailable if nothing listens, or that the stream broke off. It is called once, and
// before all else but Close.
func (c *Conn) Connected() error {
	var status [1]byte
	if _, err := io.ReadFull(c.in.r, status[:]); err != nil {
		return c.failure(err)
	}
	switch status[0] {
	case 0:
		return nil
	case refused:
		return driver.WithClass(errdefs.ErrUnavailable, "nothing listens on %s", c.to)
	default:
		return driver.WithClass(errdefs.ErrUnavailable, "connect to %s: error %d of Linux", c.to, status[0])
	}
}

// framed takes what is in frames out of them. After an error, such as that a deadline has passed, it goes on where it was.
type framed struct {
	r      io.Reader
	header []byte
	have   int // bytes of the header
	length func(header []byte) (int, error)
	left   int // bytes of the frame
}

func (f *framed) Read(p []byte) (int, error) {
	for f.left == 0 {
		n, err := f.r.Read(f.header[f.have:])
		if f.have += n; f.have < len(f.header) {
			if err != nil {
				return 0, err
			}
			continue
		}
		f.have = 0
		if f.left, err = f.length(f.header); err != nil {
			return 0, err
		}
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

func stdoutLength(header []byte) (int, error) {
	if header[0] != 1 {
		return 0, fmt.Errorf("a frame of the stream %d, and not of the helper's output", header[0])
	}
	return int(binary.BigEndian.Uint32(header[4:])), nil
}

// errEnd is that the task has ended what it sends.
var errEnd = errors.New("end")

func frameLength(header []byte) (int, error) {
	switch n := binary.LittleEndian.Uint32(header); {
	case n == 0:
		return 0, errEnd
	case n > maxFrame:
		return 0, fmt.Errorf("a frame of %d bytes", n)
	default:
		return int(n), nil
	}
}

func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	switch {
	case c.closed.Load():
		return 0, net.ErrClosed
	case c.ended:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n, err := c.in.Read(p)
	if errors.Is(err, errEnd) {
		c.ended = true
		return n, io.EOF
	}
	return n, c.failure(err)
}

// failure is what an error of the attached stream says of the connection.
func (c *Conn) failure(err error) error {
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return net.ErrClosed
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the connection to %s broke off: %w", c.to, io.ErrUnexpectedEOF)
	}
	return err
}

// Write returns how many bytes are on their way. What a deadline has cut off must be written next.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for len(p) > 0 && err == nil {
		switch {
		case c.closed.Load():
			return n, net.ErrClosed
		case c.finished:
			return n, io.ErrClosedPipe
		case c.owed == 0:
			c.owed = min(len(p), maxFrame)
			c.head = binary.LittleEndian.AppendUint32(nil, uint32(c.owed))
		}
		var sent int
		sent, err = c.send(p[:min(len(p), c.owed)])
		c.owed -= sent
		n += sent
		p = p[sent:]
	}
	return n, c.failure(err)
}

// send writes what is left of the header, and p, and returns how much of p it wrote.
func (c *Conn) send(p []byte) (int, error) {
	c.buf = append(append(c.buf[:0], c.head...), p...)
	n, err := c.raw.Write(c.buf)
	head := min(n, len(c.head))
	c.head = c.head[head:]
	return n - head, err
}

// CloseWrite ends what the task reads. It fails behind a Write that a deadline has cut off, until the rest was written.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.closed.Load() {
		return net.ErrClosed
	}
	if !c.finished {
		if c.owed > 0 {
			return errors.New("a write was cut off")
		}
		c.finished, c.head = true, make([]byte, 4)
	}
	if len(c.head) == 0 {
		return nil // it was said before, and perhaps nobody is there any more
	}
	_, err := c.send(nil)
	return c.failure(err)
}

// Close ends reads and writes that are under way. Finish does the rest.
func (c *Conn) Close() error {
	c.state.Lock()
	defer c.state.Unlock()
	if !c.closed.Swap(true) {
		_ = c.raw.SetDeadline(time.Unix(1, 0))
		close(c.done)
	}
	return nil
}

// Done is closed when Close is called.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Finish ends the process and the attached stream, after Close. What was written goes its way first, for as long as that may take:
// a task need not read.
func (c *Conn) Finish(linger time.Duration) {
	defer c.raw.Close()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.owed > 0 || c.raw.SetDeadline(time.Now().Add(linger)) != nil {
		return
	}
	c.head = binary.LittleEndian.AppendUint32(c.head, closing)
	if _, err := c.send(nil); err == nil {
		_, _ = io.Copy(io.Discard, c.raw) // the end of its output is that of the process
	}
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are as in [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error      { return c.deadline(c.raw.SetDeadline, t) }
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.deadline(c.raw.SetReadDeadline, t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(c.raw.SetWriteDeadline, t) }

func (c *Conn) deadline(set func(time.Time) error, t time.Time) error {
	c.state.Lock()
	defer c.state.Unlock()
	if c.closed.Load() {
		return net.ErrClosed
	}
	return set(t)
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// RemoteAddr names the task and the port.
func (c *Conn) RemoteAddr() net.Addr { return c.to }

// LocalAddr is no address of this machine: the helper is in the task's network.
func (c *Conn) LocalAddr() net.Addr { return addr("wharf") }
