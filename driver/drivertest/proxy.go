package drivertest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Proxy passes connections on to a runtime, and can be cut: see [Harness].OpenCuttable. It listens on a socket
// of the same kind as the runtime's.
type Proxy struct {
	network, target string
	listener        net.Listener
	dir             string // of the socket
	wg              sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// NewProxy returns a proxy to a runtime at an address of package net, such as "unix", "/var/run/docker.sock".
func NewProxy(network, address string) (*Proxy, error) {
	p := &Proxy{network: network, target: address, conns: map[net.Conn]bool{}}
	listen := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "line")
		if err != nil {
			return nil, err
		}
		p.dir, listen = dir, filepath.Join(dir, "s")
	}
	l, err := net.Listen(network, listen)
	if err != nil {
		os.RemoveAll(p.dir)
		return nil, err
	}
	p.listener = l
	p.wg.Go(p.serve)
	return p, nil
}

// Addr is where the driver finds the proxy: the path of a socket, or host and port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Line returns the functions that cut and restore.
func (p *Proxy) Line() Line { return Line{Cut: p.Cut, Restore: p.Restore} }

// Cut breaks every connection, and those that are made until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		c.Close()
	}
}

// Restore lets connections through again.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.Cut()
	p.wg.Wait()
	if p.dir != "" {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}

func (p *Proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.hold(c) {
			p.wg.Go(func() { p.pass(c) })
		}
	}
}

// hold remembers a connection, or closes it when the line is cut.
func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// pass copies both ways until both have ended. An end of one is passed on, as a half-close.
func (p *Proxy) pass(client net.Conn) {
	defer p.drop(client)
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), p.network, p.target)
	if err != nil || !p.hold(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { halfCopy(server, client) })
	both.Go(func() { halfCopy(client, server) })
	both.Wait()
}

// halfCopy copies by hand: between TCP connections io.Copy would let the kernel do it, through pipes that the process keeps afterwards, and
// that the check for open descriptors would take for the driver's.
func halfCopy(to, from net.Conn) {
	io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}
