package endtoend

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// relay stands between programs and the runtime, and can be cut.
type relay struct {
	network, to string
	listener    net.Listener

	mu    sync.Mutex
	away  bool
	conns map[net.Conn]bool
}

// newRelay starts one beside the runtime: containers can have it in the runtime's place.
func newRelay(t testing.TB, runtime string) *relay {
	t.Helper()
	r := &relay{conns: map[net.Conn]bool{}}
	r.network, r.to = address(t, runtime)
	at := filepath.Join(t.TempDir(), "runtime.sock")
	if r.network == "tcp" {
		host, _, err := net.SplitHostPort(r.to)
		if err != nil {
			t.Fatal(err)
		}
		at = net.JoinHostPort(host, "0")
	}
	l, err := net.Listen(r.network, at)
	if err != nil {
		t.Fatal(err)
	}
	r.listener = l
	t.Cleanup(func() { l.Close(); r.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.carry(c)
		}
	}()
	return r
}

// driver returns a driver's URL with the relay for the runtime.
func (r *relay) driver(t testing.TB, through string) string {
	t.Helper()
	u, err := url.Parse(through)
	if err != nil {
		t.Fatal(err)
	}
	if r.network == "unix" {
		u.Path = r.listener.Addr().String()
		return u.String()
	}
	q := u.Query()
	server, err := url.Parse(q.Get("server"))
	if err != nil {
		t.Fatal(err)
	}
	server.Host = r.listener.Addr().String()
	q.Set("server", server.String())
	u.RawQuery = q.Encode()
	return u.String()
}

// carry takes a connection to the runtime, unless that is away.
func (r *relay) carry(c net.Conn) {
	defer r.drop(c)
	if !r.keep(c) {
		return
	}
	to, err := net.Dial(r.network, r.to)
	if err != nil {
		return
	}
	defer r.drop(to)
	if !r.keep(to) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, to}, {to, c}} {
		both.Go(func() {
			io.Copy(way[0], way[1])
			if half, can := way[0].(interface{ CloseWrite() error }); can {
				half.CloseWrite()
			}
		})
	}
	both.Wait()
}

// keep remembers a connection, for cut, and reports whether it may be.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.away {
		r.conns[c] = true
	}
	return !r.away
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	c.Close()
}

// cut breaks all connections, and lets none come up until mend.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
	for c := range r.conns {
		c.Close()
	}
}

func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
}
