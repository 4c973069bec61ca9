package server

import (
	"container/list"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
)

// maxGuests is how many connections may be open that have not shown the token. When another comes, the oldest of them is closed: so neither can those
// who have no token use up the process's files, nor do they keep those out who have.
const maxGuests = 256

// guests are the connections that have not shown the token.
type guests struct {
	mu    sync.Mutex
	order list.List // of *guest, as they came
	over  bool      // no other may come
}

// guest is a connection.
type guest struct {
	net.Conn
	of    *guests
	place *list.Element // nil once it is no guest any more
}

// come takes a new connection in.
func (gs *guests) come(conn net.Conn) *guest {
	g := &guest{Conn: conn, of: gs}
	gs.mu.Lock()
	g.place = gs.order.PushBack(g)
	var out *guest
	switch {
	case gs.over:
		out = g
	case gs.order.Len() > maxGuests:
		out, _ = gs.order.Front().Value.(*guest)
	}
	gs.mu.Unlock()
	if out != nil {
		_ = out.Close()
	}
	return g
}

// leave closes all of them: the end is not to wait for what they may say.
func (gs *guests) leave() {
	gs.mu.Lock()
	gs.over = true
	var all []*guest
	for e := gs.order.Front(); e != nil; e = e.Next() {
		g, _ := e.Value.(*guest)
		all = append(all, g)
	}
	gs.mu.Unlock()
	for _, g := range all {
		_ = g.Close()
	}
}

// welcome says that the connection has shown the token.
func (g *guest) welcome() {
	g.of.mu.Lock()
	defer g.of.mu.Unlock()
	if g.place != nil {
		g.of.order.Remove(g.place)
		g.place = nil
	}
}

// Close closes the connection.
func (g *guest) Close() error {
	g.welcome()
	return g.Conn.Close()
}

// door is a listener whose connections are guests.
type door struct {
	net.Listener
	guests *guests
}

// Accept waits for the next connection.
func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return d.guests.come(conn), nil
}

// introduced are the credentials of the transport; each call can tell by them which connection it came on.
type introduced struct {
	credentials.TransportCredentials
}

// visitor is what a call knows of its connection.
type visitor struct {
	credentials.AuthInfo
	guest *guest
}

// ServerHandshake begins a connection.
func (c introduced) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	g, _ := raw.(*guest)
	return conn, visitor{info, g}, err
}

// Clone copies the credentials.
func (c introduced) Clone() credentials.TransportCredentials {
	return introduced{c.TransportCredentials.Clone()}
}
