package fake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

var programs = map[string]fake.Program{
	"wait": func(_ context.Context, p *fake.Proc) int {
		sigs := p.Signals()
		fmt.Fprintln(p.Stdout(), "ready")
		<-sigs
		return 0
	},
	"lines": func(_ context.Context, p *fake.Proc) int {
		fmt.Fprint(p.Stdout(), "one\ntwo\nthree\n")
		return 0
	},
	"listen": func(ctx context.Context, p *fake.Proc) int {
		l, err := p.Listen("127.0.0.1:8080")
		if err != nil {
			return 1
		}
		for {
			c, err := l.Accept()
			if err != nil {
				return 0
			}
			io.Copy(c, c)
			c.Close()
		}
	},
	"dial": func(_ context.Context, p *fake.Proc) int {
		c, err := p.Dial("localhost:8080")
		if err != nil {
			return 1
		}
		defer c.Close()
		io.WriteString(c, "ping")
		c.(interface{ CloseWrite() error }).CloseWrite()
		b, _ := io.ReadAll(c)
		fmt.Fprintf(p.Stdout(), "%s\n", b)
		return 0
	},
	"echo": func(_ context.Context, p *fake.Proc) int {
		io.Copy(p.Stdout(), p.Stdin())
		return 0
	},
	"stuck": func(ctx context.Context, _ *fake.Proc) int {
		<-ctx.Done()
		return 0
	},
}

func open(t *testing.T, rt *fake.Runtime) *fake.Driver {
	t.Helper()
	d := rt.Open("me")
	t.Cleanup(func() { d.Close() })
	return d
}

func spec(name string, args ...string) driver.TaskSpec {
	return driver.TaskSpec{Name: name, Container: driver.Container{Image: "any", Args: args}}
}

func start(t *testing.T, d driver.Driver, s driver.TaskSpec) driver.TaskID {
	t.Helper()
	id, err := d.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

func wait(t *testing.T, d driver.Driver, id driver.TaskID) driver.Result {
	t.Helper()
	res, err := d.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestEvict(t *testing.T) {
	rt := fake.New(fake.Config{Programs: programs})
	d := open(t, rt)
	id := start(t, d, spec("a", "stuck"))
	if err := rt.Evict(id, "the node was low on memory"); err != nil {
		t.Fatal(err)
	}
	if res := wait(t, d, id); res.Outcome != driver.Evicted || res.Succeeded() || res.Reason != "the node was low on memory" {
		t.Errorf("the result is %+v; want evicted", res)
	}
}

func TestDown(t *testing.T) {
	rt := fake.New(fake.Config{Programs: programs})
	d := open(t, rt)
	id := start(t, d, spec("a", "wait"))
	log, err := d.Logs(t.Context(), id, driver.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Next(); err != nil { // "ready": signals are caught from now on
		t.Fatal(err)
	}
	_ = log.Close()
	waited := make(chan error, 1)
	go func() {
		_, err := d.Wait(t.Context(), id)
		waited <- err
	}()
	rt.Down()
	if err := <-waited; !errdefs.IsUnavailable(err) {
		t.Errorf("Wait while the runtime is down: %v; want Unavailable", err)
	}
	if _, err := d.List(t.Context(), driver.ListOptions{}); !errdefs.IsUnavailable(err) {
		t.Errorf("List while the runtime is down: %v; want Unavailable", err)
	}
	rt.Up()
	if err := d.Stop(t.Context(), id, driver.StopOptions{Grace: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if res := wait(t, d, id); !res.Succeeded() {
		t.Errorf("the task %v; want it to have gone on", res)
	}
}

func TestFaults(t *testing.T) {
	d := open(t, fake.New(fake.Config{Programs: programs}))
	trouble := driver.WithClass(errdefs.ErrUnavailable, "the disk is full")
	d.Inject(fake.Fault{Op: "create", After: 1, Times: 2, Err: trouble})
	for i, want := range []bool{false, true, true, false} {
		_, err := d.Create(t.Context(), spec(fmt.Sprint("task", i), "lines"))
		if got := errors.Is(err, trouble); got != want || err != nil && !want {
			t.Errorf("call %d: %v; want the fault: %t", i, err, want)
		}
	}
	d.Inject(fake.Fault{Op: "list", Err: trouble})
	for range 3 {
		if _, err := d.List(t.Context(), driver.ListOptions{}); !errors.Is(err, trouble) {
			t.Errorf("List: %v; want the fault each time", err)
		}
	}
	d.Heal()
	if _, err := d.List(t.Context(), driver.ListOptions{}); err != nil {
		t.Errorf("List after Heal: %v", err)
	}
}

func TestFaultCutsLog(t *testing.T) {
	d := open(t, fake.New(fake.Config{Programs: programs}))
	id := start(t, d, spec("a", "lines"))
	wait(t, d, id)
	d.Inject(fake.Fault{Op: "next", After: 2, Times: 1, Err: errdefs.ErrUnavailable})
	r, err := d.Logs(t.Context(), id, driver.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for {
		entry, err := r.Next()
		if errdefs.IsUnavailable(err) {
			if r, err = d.Logs(t.Context(), id, driver.LogOptions{From: r.Cursor()}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		lines = append(lines, string(entry.Line))
	}
	if got := fmt.Sprint(lines); got != "[one two three]" {
		t.Errorf("over a cut, the log is %s", got)
	}
}

func TestFaultDelay(t *testing.T) {
	d := open(t, fake.New(fake.Config{Programs: programs}))
	hold := make(chan struct{})
	d.Inject(fake.Fault{Op: "create", Delay: hold})
	made := make(chan error, 1)
	go func() {
		_, err := d.Create(t.Context(), spec("a", "lines"))
		made <- err
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Create(ctx, spec("b", "lines")); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that is held and cancelled: %v", err)
	}
	close(hold)
	if err := <-made; err != nil {
		t.Errorf("a call that was held: %v", err)
	}
}

func TestServiceReadyByTCP(t *testing.T) {
	d := open(t, fake.New(fake.Config{Programs: programs}))
	s := spec("a", "dial")
	s.Services = []driver.Service{{
		Container: driver.Container{Name: "echo", Image: "any", Args: []string{"listen"}},
		Ready:     driver.Ready{TCP: 8080},
	}}
	id := start(t, d, s)
	if res := wait(t, d, id); !res.Succeeded() {
		t.Errorf("a task that dials its service %v", res)
	}
	s.Name, s.Services[0].Ready = "b", driver.Ready{TCP: 9, Timeout: time.Millisecond}
	res := wait(t, d, start(t, d, s))
	if res.Outcome != driver.ServiceFailed || res.Container != "echo" || res.Code != -1 {
		t.Errorf("a task whose service is never ready: %+v", res)
	}
	s.Name, s.Services[0].Ready = "c", driver.Ready{Exec: []string{"dial"}}
	if res := wait(t, d, start(t, d, s)); !res.Succeeded() {
		t.Errorf("a task whose service says by a command that it is ready: %v", res)
	}
}

func TestDial(t *testing.T) {
	d := open(t, fake.New(fake.Config{Programs: programs}))
	s := spec("a", "wait")
	s.Services = []driver.Service{{
		Container: driver.Container{Name: "echo", Image: "any", Args: []string{"listen"}}, Ready: driver.Ready{TCP: 8080},
	}}
	id := start(t, d, s)
	c, err := driver.Dial(t.Context(), d, id, 8080)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "there and back")
	c.(interface{ CloseWrite() error }).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "there and back" {
		t.Errorf("the service answers %q, %v", b, err)
	}
	if _, err := driver.Dial(t.Context(), d, id, 9); !errdefs.IsUnavailable(err) {
		t.Errorf("Dial of a port where nothing listens: %v", err)
	}
}

func TestExecStdin(t *testing.T) {
	d := open(t, fake.New(fake.Config{Programs: programs}))
	id := start(t, d, spec("a", "wait"))
	var out bytes.Buffer
	res, err := d.Exec(t.Context(), id, driver.ExecSpec{Args: []string{"echo"}, Stdin: bytes.NewReader([]byte("x\ny")), Stdout: &out})
	if err != nil || !res.Succeeded() || out.String() != "x\ny" {
		t.Errorf("Exec: %v, %v, %q", res, err, out.String())
	}
}

func TestOnePullForMany(t *testing.T) {
	var pulls int // by one goroutine, or the test under -race fails
	release := make(chan struct{})
	rt := fake.New(fake.Config{Programs: programs, Images: map[string]fake.Image{}, Pull: func(context.Context, driver.PullSpec) (fake.Image, error) {
		pulls++
		<-release
		return fake.Image{Size: 10}, nil
	}})
	d := open(t, rt)
	pulled := make(chan error, 10)
	for range cap(pulled) {
		go func() { pulled <- d.Pull(t.Context(), driver.PullSpec{Image: "registry.example/app:1"}) }()
	}
	close(release)
	for range cap(pulled) {
		if err := <-pulled; err != nil {
			t.Error(err)
		}
	}
	if pulls != 1 {
		t.Errorf("the image was pulled %d times", pulls)
	}
}
