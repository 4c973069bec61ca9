package wharfapi

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

// errFence is the error of a write after the end of the turn.
var errFence = errors.New("nothing may be written any more: another may have the build")

// fenced makes connections that write as long as the fence allows.
func fenced(dial func(context.Context, string, string) (net.Conn, error), fence sink.Fence) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &fencedConn{Conn: c, fence: fence}, nil
	}
}

// fencedConn is a connection that writes nothing after the end of the turn: neither what it is asked to then, nor what it was asked to before and had no room for. What the system has taken already it drops, as far as that can be
// done.
type fencedConn struct {
	net.Conn
	fence sink.Fence
}

// pieceBytes is how much is written without a look at the fence.
const pieceBytes = 64 << 10

func (c *fencedConn) Write(p []byte) (n int, err error) {
	for n < len(p) {
		until := c.fence()
		if !time.Now().Before(until) {
			_ = c.abort()
			return n, errFence
		}
		if err := c.Conn.SetWriteDeadline(until); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[n:min(n+pieceBytes, len(p))])
		n += m
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // the turn may have become longer meanwhile
			return n, err
		}
	}
	return n, nil
}

// Close drops what has not been sent: whoever has waited for an answer has it, and nobody else counts on what arrives later, when another may have the build.
func (c *fencedConn) Close() error { return c.abort() }

// SetDeadline and SetWriteDeadline: the fence's own is the one for writing.
func (c *fencedConn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (c *fencedConn) SetWriteDeadline(time.Time) error { return nil }

// abort closes the connection, and what was written and has not been sent is not sent.
func (c *fencedConn) abort() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return c.Conn.Close()
}
