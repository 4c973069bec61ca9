package podman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/relay"
)

// echoing returns a task with a server on the port that sends back what it gets.
func echoing(t *testing.T, d *Driver, spec driver.TaskSpec, port int) driver.TaskID {
	t.Helper()
	spec.Container = sh(fmt.Sprintf("exec nc -ll -p %d -e cat", port))
	spec.Container.Security.HostNetwork = d.allow.HostNetwork
	id := create(t, d, spec)
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

// dial connects when something listens.
func dial(t *testing.T, d *Driver, id driver.TaskID, port int) net.Conn {
	t.Helper()
	for {
		c, err := d.Dial(t.Context(), id, port)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if !errdefs.IsUnavailable(err) {
			t.Fatal(err)
		}
	}
}

// echoed sends text and wants it back, with the connection left open.
func echoed(t *testing.T, c net.Conn, text string) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, text)
		sent <- err
	}()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Errorf("%d bytes came back of %d, %v", n, len(text), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// helpers returns the owner's helpers.
func helpers(t *testing.T, d *Driver) (names []string) {
	t.Helper()
	list, err := d.list(context.Background(), d.filters(kindHelper, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		names = append(names, fmt.Sprint(c.Names, c.State))
	}
	return names
}

// awaitNoHelpers wants all helpers gone within some seconds.
func awaitNoHelpers(t *testing.T, d *Driver) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := helpers(t, d)
		if left == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("helpers are left: %q", left)
		}
	}
}

// other returns a second driver of the same owner.
func other(t *testing.T, d *Driver) *Driver {
	t.Helper()
	o, err := New(Config{Owner: d.owner, Allow: d.allow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// A task is removed at once though connections to it are open, and they end.
func TestDialRemoved(t *testing.T) {
	d := open(t)
	id := echoing(t, d, driver.TaskSpec{}, 8080)
	c := dial(t, d, id, 8080)
	echoed(t, c, "hello")
	if err := d.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	awaitNoHelpers(t, d) // though the connection is open
	if n, err := io.Copy(io.Discard, c); !errors.Is(err, io.ErrUnexpectedEOF) && err != nil {
		t.Errorf("the connection to a task that is gone: %d bytes, %v", n, err)
	}
}

// TestDialElsewhere dials what another process made, in every kind of network.
func TestDialElsewhere(t *testing.T) {
	d := open(t)
	box, err := d.CreateSandbox(t.Context(), driver.SandboxSpec{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.RemoveSandbox(context.Background(), box) })
	for name, c := range map[string]struct {
		spec driver.TaskSpec
		host bool
	}{
		"own":     {driver.TaskSpec{Network: driver.Network{Mode: driver.NetworkOwn}}, false},
		"sandbox": {driver.TaskSpec{Sandbox: box}, false},
		"host":    {driver.TaskSpec{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := other(t, d)
			maker := other(t, d)
			maker.allow.HostNetwork = c.host
			id := echoing(t, maker, c.spec, 18480)
			conn := dial(t, o, id, 18480)
			// These bytes would detach from a terminal.
			echoed(t, conn, "\x10\x11 \x10\x11 hello")
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			began := time.Now()
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || time.Since(began) > 5*time.Second {
				t.Errorf("a connection of a driver that was closed: %v after %s", err, time.Since(began))
			}
			awaitNoHelpers(t, d)
		})
	}
}

// TestDialSlowReader sends more than all buffers between hold before it reads.
func TestDialSlowReader(t *testing.T) {
	d := open(t)
	id := echoing(t, d, driver.TaskSpec{}, 8080)
	c := dial(t, d, id, 8080)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	go func() { _, _ = c.Write(want) }()
	time.Sleep(3 * time.Second)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d, %v", n, len(want), err)
	}
}

// The end of a helper, as soon as both directions have ended, overtakes none of its output.
func TestDialLastBytes(t *testing.T) {
	d := open(t)
	id := create(t, d, driver.TaskSpec{Container: sh("exec nc -ll -p 8080 -e sh -c 'cat; head -c 300000 /dev/zero'")})
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	dial(t, d, id, 8080).Close()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 4 {
				c, err := d.Dial(t.Context(), id, 8080)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.WriteString(c, "hello"); err != nil {
					t.Error(err)
				}
				if err := c.(*relay.Conn).CloseWrite(); err != nil {
					t.Error(err)
				}
				if text, err := io.ReadAll(c); err != nil || len(text) != 300_005 {
					t.Errorf("%d bytes, %v", len(text), err)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	awaitNoHelpers(t, d)
}

// A helper ends when the process that dialled dies, also between two of its steps.
func TestDialOrphans(t *testing.T) {
	d := open(t)
	labels := map[string]string{"build": "dead"}
	id := echoing(t, d, driver.TaskSpec{Labels: labels}, 8080)
	dying := other(t, d)
	c := dial(t, dying, id, 8080)
	if err := c.(*relay.Conn).CloseWrite(); err != nil { // and what the server does is not heeded
		t.Fatal(err)
	}
	dying.api.conns.Close(errClosed)
	awaitNoHelpers(t, d)

	main, err := d.look(t.Context(), handleID(t, d, id))
	if err != nil {
		t.Fatal(err)
	}
	half := &maker{Driver: d, spec: &driver.TaskSpec{}, uid: newUID()}
	if _, err := half.helperFor(t.Context(), main, 8080); err != nil {
		t.Fatal(err)
	}
	list := func() int {
		tasks, err := d.List(t.Context(), driver.ListOptions{Labels: labels})
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	if n := list(); n != 1 || len(helpers(t, d)) != 1 {
		t.Errorf("List has %d tasks, and %q are there; want the task and its helper", n, helpers(t, d))
	}
	if err := d.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if n, left := list(), helpers(t, d); n != 0 || left != nil {
		t.Errorf("List has %d tasks, and %q are left", n, left)
	}
}

func handleID(t *testing.T, d *Driver, id driver.TaskID) string {
	t.Helper()
	h, err := d.parse(string(id))
	if err != nil {
		t.Fatal(err)
	}
	return h.container
}

// A Dial whose context ends leaves nothing, at whatever step.
func TestDialCancelled(t *testing.T) {
	d := open(t)
	id := echoing(t, d, driver.TaskSpec{}, 8080)
	dial(t, d, id, 8080).Close()
	for ms := 0; ms < 600; ms += 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(ms)*time.Millisecond)
		c, err := d.Dial(ctx, id, 8080)
		if err == nil {
			c.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d ms: %v", ms, err)
		}
		cancel()
	}
	awaitNoHelpers(t, d)
}

// TestDialEnds dials a task that ends meanwhile.
func TestDialEnds(t *testing.T) {
	d := open(t)
	for ms := 0; ms < 500; ms += 100 {
		id := echoing(t, d, driver.TaskSpec{}, 8080)
		dial(t, d, id, 8080).Close()
		stopped := make(chan error, 1)
		go func() {
			time.Sleep(time.Duration(ms) * time.Millisecond)
			stopped <- d.Stop(context.Background(), id, driver.StopOptions{})
		}()
		for {
			c, err := d.Dial(t.Context(), id, 8080)
			if err == nil {
				c.Close()
				continue
			}
			if !errdefs.IsFailedPrecondition(err) && !errdefs.IsUnavailable(err) {
				t.Errorf("Dial of a task that ends: %v", err)
			}
			if errdefs.IsFailedPrecondition(err) {
				break
			}
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	awaitNoHelpers(t, d)
}
