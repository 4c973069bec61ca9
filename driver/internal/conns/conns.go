// Package conns ends the connections of a driver with the driver.
package conns

import (
	"context"
	"net"
	"sync"
)

// List has the open connections of a driver. A client's own pool cannot end those that are in use, and takes back one that
// was dialed for a call which nobody waits for any more; so a call that the end of the driver overtakes would leave a
// connection and its goroutines behind. The zero value is ready for use, by many goroutines.
type List struct {
	mu     sync.Mutex
	open   map[*conn]struct{}
	closed error
}

// conn is a connection that is known to its driver until it is closed.
type conn struct {
	net.Conn
	of *List
}

// Dial is a function as that of [net.Dialer].
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// Dialer returns a function that dials with next, and keeps what it made in the list.
func (l *List) Dialer(next Dial) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed != nil {
			nc.Close()
			return nil, l.closed
		}
		if l.open == nil {
			l.open = map[*conn]struct{}{}
		}
		c := &conn{nc, l}
		l.open[c] = struct{}{}
		return c, nil
	}
}

// Close ends every connection and lets no new one come up: who dials gets the error, which is not nil.
func (l *List) Close(err error) {
	l.mu.Lock()
	l.closed = err
	open := l.open
	l.open = nil
	l.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends the sending half, where the connection can do that. Clients ask for it by this name.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
