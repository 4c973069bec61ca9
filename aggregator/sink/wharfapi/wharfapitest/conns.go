package wharfapitest

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

// conns are the connections that are open, by the client's address.
type conns struct {
	mu   sync.Mutex
	over bool
	all  map[string]net.Conn
}

func (c *conns) add(n net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.all[n.RemoteAddr().String()] = n
	}
	return !c.over
}

func (c *conns) remove(n net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[n.RemoteAddr().String()] == n {
		delete(c.all, n.RemoteAddr().String())
	}
}

// cutOne cuts the connection of a client.
func (c *conns) cutOne(address string) {
	c.mu.Lock()
	n := c.all[address]
	c.mu.Unlock()
	if n != nil {
		_ = n.Close()
	}
}

// cut cuts all of them, and lets no other come.
func (c *conns) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, n := range c.all {
		_ = n.Close()
	}
}

// peeked is a connection whose first bytes have been looked at.
type peeked struct {
	net.Conn
	buf   *bufio.Reader
	conns *conns
}

func (p *peeked) Read(b []byte) (int, error) { return p.buf.Read(b) }

func (p *peeked) Close() error {
	p.conns.remove(p.Conn)
	return p.Conn.Close()
}

// handed is a listener that is handed its connections.
type handed struct {
	net.Listener
	conns chan net.Conn
	done  chan struct{}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error { return nil }

func (h *handed) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done:
		_ = c.Close()
	}
}

// serve serves REST and gRPC at one port: who begins with the preface of HTTP/2 wants gRPC.
func (u *service) serve(secure *tls.Config) {
	done := make(chan struct{})
	rest, rpc := &handed{u.listener, make(chan net.Conn), done}, &handed{u.listener, make(chan net.Conn), done}
	go func() { _ = u.http.Serve(rest) }()
	go func() { _ = u.grpc.Serve(rpc) }()
	if secure != nil {
		secure = secure.Clone()
		secure.NextProtos = []string{"h2", "http/1.1"}
	}
	go func() {
		defer close(done)
		for {
			c, err := u.listener.Accept()
			if err != nil {
				return
			}
			if !u.conns.add(c) {
				_ = c.Close()
				continue
			}
			go func() {
				p := &peeked{Conn: c, conns: u.conns}
				if secure != nil {
					p.Conn = tls.Server(c, secure)
				}
				p.buf = bufio.NewReaderSize(p.Conn, 32<<10)
				switch start, err := p.buf.Peek(4); {
				case err != nil:
					u.conns.remove(c)
					_ = p.Close()
				case string(start) == "PRI ":
					rpc.give(p)
				default:
					rest.give(p)
				}
			}()
		}
	}()
}
