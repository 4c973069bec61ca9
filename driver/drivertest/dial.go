package drivertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

// dial connects to a port of a task, or wants that refused where it is not claimed.
func (e *Env) dial(id driver.TaskID, port int) (net.Conn, bool) {
	c, err := driver.Dial(e.ctx, e.d, id, port)
	if err == nil {
		e.defers(func(context.Context) { c.Close() })
	}
	if e.unclaimed(e.caps.Dial, "Dial", err) {
		return nil, false
	}
	e.must("Dial", err)
	return c, true
}

// exchange sends text, ends what is sent, and wants it back with what the server adds.
func (e *Env) exchange(c net.Conn, text string) {
	if _, err := io.WriteString(c, text); err != nil {
		e.Errorf("write to a connection: %v", err)
		return
	}
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		e.Errorf("the connection of type %T has no CloseWrite", c)
		return
	}
	if err := half.CloseWrite(); err != nil {
		e.Errorf("CloseWrite: %v", err)
	}
	back, err := io.ReadAll(c)
	if err != nil || string(back) != text+"end" {
		e.Errorf("the connection carried back %.100q, %v; want %.100q", back, err, text+"end")
	}
}

func dialEcho(e *Env, address string) {
	id, _ := e.ready(e.spec("serve", address))
	for _, text := range []string{"hello", ""} {
		c, ok := e.dial(id, 8080)
		if !ok {
			return
		}
		e.exchange(c, text)
	}
}

func dialService(e *Env) {
	spec := e.spec("trap-term", "0")
	spec.Services = []driver.Service{e.service("db", driver.Ready{TCP: 8080}, "serve", "127.0.0.1:8080")}
	if !e.withServices(spec) {
		return
	}
	id, _ := e.ready(spec)
	if c, ok := e.dial(id, 8080); ok {
		e.exchange(c, "to a service")
	}
}

func dialNoNetwork(e *Env) {
	spec, ok := e.onNetwork(driver.NetworkNone, "serve", ":8080")
	if !ok {
		return
	}
	id, _ := e.ready(spec)
	if c, ok := e.dial(id, 8080); ok {
		e.exchange(c, "inside")
	}
}

func dialMany(e *Env) {
	id, _ := e.ready(e.spec("serve", "127.0.0.1:8080"))
	var conns []net.Conn
	for range 10 {
		c, ok := e.dial(id, 8080)
		if !ok {
			return
		}
		conns = append(conns, c)
	}
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { e.exchange(c, fmt.Sprintf("number %d", i)) })
	}
	wg.Wait()
}

// dialLarge sends 32 MiB, reading at the same time what comes back.
func dialLarge(e *Env) {
	const size, seed = 32 << 20, 7
	id, _ := e.ready(e.spec("serve", "127.0.0.1:8080"))
	c, ok := e.dial(id, 8080)
	if !ok {
		return
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{c}, testprog.Content(size, seed))
		if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		sent <- err
	}()
	if err := testprog.SameContent(io.LimitReader(c, size), size, seed); err != nil {
		c.Close()
		e.Errorf("what the connection carried back %v", err)
	}
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "end" {
		e.Errorf("after the data came %q, %v; want the server's own \"end\", which it sends when it has seen ours", rest, err)
	}
	if err := receive(e, "the sending", sent); err != nil {
		e.Errorf("send: %v", err)
	}
}

func dialEnded(e *Env) {
	id := e.start("exit", "0")
	e.wait(id)
	c, err := driver.Dial(e.ctx, e.d, id, 8080)
	if err == nil {
		c.Close()
	}
	if e.unclaimed(e.caps.Dial, "Dial", err) {
		return
	}
	e.wantError("Dial of a task that has ended", err, errdefs.ErrFailedPrecondition)
	e.must("Remove", e.d.Remove(e.ctx, id))
	_, err = driver.Dial(e.ctx, e.d, id, 8080)
	e.wantError("Dial of a task that was removed", err, errdefs.ErrNotFound)
}
