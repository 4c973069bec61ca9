package fake

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/wharfci/wharf/driver"
)

// network is the network namespace of a task or sandbox: who listens on which port.
type network struct {
	rt      *Runtime
	spec    driver.Network
	address string // empty if nothing but localhost is reached

	mu      sync.Mutex
	ports   map[int]*listener
	names   map[string]string // what the name server at localhost knows
	changed chan struct{}     // closed at the next change; nil if nobody waits
}

// newNetwork makes a namespace; number tells its address from others.
func (rt *Runtime) newNetwork(spec driver.Network, number int) *network {
	n := &network{rt: rt, spec: spec, ports: map[int]*listener{}, names: map[string]string{}}
	if spec.Mode != driver.NetworkNone {
		n.address = netip.AddrFrom4([4]byte{10, byte(number >> 16), byte(number >> 8), byte(number)}).String()
	}
	return n
}

// listening waits until something listens on a port; false if ctx ends before.
func (n *network) listening(ctx context.Context, port int) bool {
	for {
		n.mu.Lock()
		there := n.ports[port] != nil
		if n.changed == nil {
			n.changed = make(chan struct{})
		}
		changed := n.changed
		n.mu.Unlock()
		if there {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// put sets or, with nil, frees a port.
func (n *network) put(port int, l *listener) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l == nil {
		delete(n.ports, port)
	} else if n.ports[port] != nil {
		return fmt.Errorf("listen tcp :%d: %w", port, syscall.EADDRINUSE)
	} else {
		n.ports[port] = l
	}
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
	return nil
}

// dial connects to a port; local says whether also to what listens at localhost only.
func (n *network) dial(ctx context.Context, port int, local bool) (net.Conn, error) {
	n.mu.Lock()
	l := n.ports[port]
	n.mu.Unlock()
	refused := fmt.Errorf("dial tcp :%d: %w", port, syscall.ECONNREFUSED)
	if l == nil || l.local && !local {
		return nil, refused
	}
	here, there := connect(port)
	select {
	case l.queue <- there:
		return here, nil
	case <-l.done:
		return nil, refused
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// find returns the namespace that an address leads to from this one, and whether that is localhost.
func (n *network) find(address string) (to *network, local bool) {
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return nil, false
	case ip.IsLoopback():
		return n, true
	case address == n.address:
		return n, false
	}
	n.rt.mu.Lock()
	defer n.rt.mu.Unlock()
	for _, t := range n.rt.tasks {
		if t.net.address == address && t.net.spec.Mode == driver.NetworkDefault && n.spec.Mode == driver.NetworkDefault {
			return t.net, false
		}
	}
	return nil, false
}

// lookup resolves a name as the hosts file and the name servers have it.
func (n *network) lookup(host string) (string, error) {
	if host == "localhost" {
		return "127.0.0.1", nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, nil
	}
	if address := n.spec.Hosts[host]; address != "" {
		return address, nil
	}
	for _, server := range n.spec.DNS {
		if to, local := n.find(server); local {
			to.mu.Lock()
			address := to.names[host]
			to.mu.Unlock()
			if address != "" {
				return address, nil
			}
		}
	}
	return "", &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// Lookup resolves a host name.
func (p *Proc) Lookup(host string) ([]string, error) {
	p.check()
	address, err := p.c.task.net.lookup(host)
	if err != nil {
		return nil, err
	}
	return []string{address}, nil
}

// ServeNames is a name server at localhost that knows one name. It calls ready when it can be asked, and
// returns with the process.
func (p *Proc) ServeNames(name, address string, ready func()) error {
	p.check()
	n := p.c.task.net
	n.mu.Lock()
	n.names[name] = address
	n.mu.Unlock()
	ready()
	<-p.done
	n.mu.Lock()
	delete(n.names, name)
	n.mu.Unlock()
	runtime.Goexit()
	return nil
}

// Addresses are those by which other tasks may reach this one.
func (p *Proc) Addresses() ([]string, error) {
	p.check()
	if p.c.task.net.address == "" {
		return nil, nil
	}
	return []string{p.c.task.net.address}, nil
}

// Listen listens on a TCP address of the task's network, such as ":80", or "127.0.0.1:80" for localhost only. It ends
// with the process.
func (p *Proc) Listen(address string) (net.Listener, error) {
	p.check()
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	l := &listener{net: p.c.task.net, port: port, local: host != "", queue: make(chan net.Conn), done: make(chan struct{})}
	if err := l.net.put(port, l); err != nil {
		return nil, err
	}
	go func() {
		select {
		case <-p.done:
			l.Close()
		case <-l.done:
		}
	}()
	return l, nil
}

// Dial connects to a TCP address, such as "localhost:80".
func (p *Proc) Dial(address string) (net.Conn, error) {
	p.check()
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	from := p.c.task.net
	if host, err = from.lookup(host); err != nil {
		return nil, err
	}
	to, local := from.find(host)
	if to == nil {
		return nil, fmt.Errorf("dial tcp %s: %w", address, syscall.ENETUNREACH)
	}
	return to.dial(p.ctx, port, local)
}

func splitAddress(address string) (host string, port int, err error) {
	host, number, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(number)
	}
	return host, port, err
}

type listener struct {
	net   *network
	port  int
	local bool // at localhost only
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.put(l.port, nil)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port} }

// conn is one end of a connection.
type conn struct {
	*io.PipeReader
	w    *io.PipeWriter
	port int
}

func connect(port int) (a, b net.Conn) {
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	return &conn{ar, aw, port}, &conn{br, bw, port}
}

func (c *conn) Write(p []byte) (int, error) { return c.w.Write(p) }

// CloseWrite ends what the other end reads.
func (c *conn) CloseWrite() error { return c.w.Close() }

func (c *conn) Close() error {
	c.w.Close()
	return c.PipeReader.Close()
}

func (c *conn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *conn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: c.port} }
func (c *conn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *conn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
