package origin

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/netutil"
)

// Bounds of connections.
type Bounds struct {
	// All is how many there may be at once; others wait until one ends. 0 or less is no bound.
	All int
	// Each is how many one client (see [Of]) may have; others of it are closed at once. 0 or less is no bound.
	Each int
	// Proxies have connections for many, and are bound by All only.
	Proxies Proxies
	// Refused, if not nil, is told the address of a client that has too many, once until it has none.
	Refused func(address string)
}

// Listen returns a listener with bounds.
func Listen(l net.Listener, b Bounds) net.Listener {
	if b.Each > 0 {
		l = &listener{Listener: l, bounds: b, of: map[string]*connections{}}
	}
	if b.All > 0 {
		l = netutil.LimitListener(l, b.All)
	}
	return l
}

type listener struct {
	net.Listener
	bounds Bounds
	mu     sync.Mutex
	of     map[string]*connections
}

// connections are those of one client.
type connections struct {
	n    int
	told bool
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := hostOf(c.RemoteAddr().String())
		if a, err := netip.ParseAddr(host); err == nil && l.bounds.Proxies.Have(a) {
			return c, nil
		}
		client := Of(host)
		ok, tell := l.enter(client)
		if ok {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(client) })}, nil
		}
		_ = c.Close()
		if tell && l.bounds.Refused != nil {
			l.bounds.Refused(host)
		}
	}
}

func (l *listener) enter(client string) (ok, tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	has := l.of[client]
	if has == nil {
		has = &connections{}
		l.of[client] = has
	}
	if has.n >= l.bounds.Each {
		tell, has.told = !has.told, true
		return false, tell
	}
	has.n++
	return true, false
}

func (l *listener) leave(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	has := l.of[client]
	if has.n--; has.n == 0 {
		delete(l.of, client)
	}
}

type conn struct {
	net.Conn
	leave func()
}

func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
