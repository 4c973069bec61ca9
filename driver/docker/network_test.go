package docker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// run creates, starts and waits for a task, and returns its result and what it printed.
func run(t *testing.T, d *Driver, spec driver.TaskSpec) (driver.Result, []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := create(t, d, spec)
	if err := d.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	res, err := d.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Logs(ctx, id, driver.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines, err := readAll(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return res, lines
}

func TestSandbox(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	for name, mode := range map[string]driver.NetworkMode{"default": driver.NetworkDefault, "own": driver.NetworkOwn, "none": driver.NetworkNone} {
		t.Run(name, func(t *testing.T) {
			spec := driver.SandboxSpec{Name: name, Labels: map[string]string{"a": "b"}, Network: driver.Network{
				Mode: mode, Hostname: "boxed", Hosts: map[string]string{"there": "10.1.2.3"},
			}}
			box, err := d.CreateSandbox(ctx, spec)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				for range 2 {
					if err := d.RemoveSandbox(ctx, box); err != nil {
						t.Error(err)
					}
				}
			}()
			if _, err := d.CreateSandbox(ctx, spec); !errdefs.IsAlreadyExists(err) {
				t.Errorf("a second one of that name: %v", err)
			}
			for range 2 {
				res, lines := run(t, d, driver.TaskSpec{Sandbox: box, Container: sh("hostname; grep -c 10.1.2.3 /etc/hosts; ls /sys/class/net | wc -l")})
				want := []string{"main stdout boxed", "main stdout 1", "main stdout 2"}
				if mode == driver.NetworkNone {
					want[2] = "main stdout 1"
				}
				if diff := cmp.Diff(want, lines); diff != "" || !res.Succeeded() {
					t.Errorf("%v (-want +got):\n%s", res, diff)
				}
			}
			list, err := d.ListSandboxes(ctx, driver.ListOptions{Labels: map[string]string{"a": "b"}})
			if err != nil || len(list) != 1 || list[0].ID != box || list[0].Name != name {
				t.Errorf("list: %v, %v", list, err)
			}
		})
	}
	_, err := d.Create(ctx, driver.TaskSpec{Name: "x", Sandbox: driver.SandboxID(handle{container: strings.Repeat("0", 64), owner: ownerSum(d.owner)}.String()), Container: sh("true")})
	if !errdefs.IsNotFound(err) {
		t.Errorf("Create in a sandbox that is not there: %v", err)
	}
}

// TestNetworkOwn looks whether tasks on networks of their own reach each other, and whether the network
// goes with its last user.
func TestNetworkOwn(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	own := driver.Network{Mode: driver.NetworkOwn}
	server := create(t, d, driver.TaskSpec{Network: own, Container: sh("httpd -p 80; ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'; sleep 100")})
	r, err := d.Logs(ctx, server, driver.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := d.Start(ctx, server); err != nil {
		t.Fatal(err)
	}
	e, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	address := string(e.Line)
	self, err := d.Exec(ctx, server, driver.ExecSpec{Args: []string{"sh", "-c", "nc -w 2 " + address + " 80 </dev/null"}})
	if err != nil || !self.Succeeded() {
		t.Fatalf("the server does not reach itself at %s: %v, %v", address, self, err)
	}
	for _, n := range []driver.Network{own, {}} {
		res, lines := run(t, d, driver.TaskSpec{Network: n, Container: sh("nc -w 2 " + address + " 80 </dev/null")})
		if res.Succeeded() {
			t.Errorf("another task (mode %d) reaches %s: %v %q", n.Mode, address, res, lines)
		}
	}
}

func TestStartFailedIsToldToOthers(t *testing.T) {
	d := open(t)
	other, err := New(Config{Owner: d.owner})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for name, spec := range map[string]driver.TaskSpec{
		"command": {Container: driver.Container{Image: image, Args: []string{"no-such-command"}}},
		"user":    {Container: driver.Container{Image: image, Args: []string{"true"}, User: "nobody-here"}},
		"root":    {Container: driver.Container{Image: image, Args: []string{"true"}, Security: driver.Security{NonRoot: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			id := create(t, d, spec)
			got := make(chan driver.Result, 1)
			go func() {
				res, err := other.Wait(ctx, id)
				if err != nil {
					t.Error(err)
				}
				got <- res
			}()
			r, err := other.Logs(ctx, id, driver.LogOptions{Follow: true})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := d.Start(ctx, id); err != nil {
				t.Fatal(err)
			}
			if lines, err := readAll(t, r); err != nil || len(lines) != 0 {
				t.Errorf("log: %q, %v", lines, err)
			}
			if res := <-got; res.Outcome != driver.StartFailed || res.Reason == "" {
				t.Errorf("result: %v", res)
			}
			list, err := d.List(ctx, driver.ListOptions{})
			if err != nil || len(list) != 1 || list[0].State != driver.StateEnded {
				t.Errorf("list: %v, %v", list, err)
			}
			if err := d.Remove(ctx, id); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGroupFailures(t *testing.T) {
	named := func(name, script string) driver.Container {
		c := sh(script)
		c.Name = name
		return c
	}
	tests := map[string]struct {
		spec driver.TaskSpec
		want driver.Result
	}{
		"init fails": {
			driver.TaskSpec{Container: sh("echo never"), Init: []driver.Container{named("one", "true"), named("two", "exit 7"), named("three", "echo never")}},
			driver.Result{Outcome: driver.InitFailed, Container: "two", Code: 7},
		},
		"init cannot start": {
			driver.TaskSpec{Container: sh("echo never"), Init: []driver.Container{{Name: "one", Image: image, Args: []string{"no-such"}}}},
			driver.Result{Outcome: driver.InitFailed, Container: "one", Code: 127},
		},
		"service dies": {
			driver.TaskSpec{Container: sh("sleep 60"), Services: []driver.Service{{Container: named("db", "sleep 0.5; exit 4")}}},
			driver.Result{Outcome: driver.ServiceFailed, Container: "db", Code: 4},
		},
		"service dies before it is ready": {
			driver.TaskSpec{Container: sh("echo never"), Services: []driver.Service{{Container: named("db", "sleep 0.2; exit 5"), Ready: driver.Ready{Exec: []string{"false"}}}}},
			driver.Result{Outcome: driver.ServiceFailed, Container: "db", Code: 5},
		},
		"service not ready": {
			driver.TaskSpec{Container: sh("echo never"), Services: []driver.Service{{Container: named("db", "sleep 60"), Ready: driver.Ready{Exec: []string{"false"}, Timeout: time.Second}}}},
			driver.Result{Outcome: driver.ServiceFailed, Container: "db", Code: -1},
		},
		"port not open in time": {
			driver.TaskSpec{Container: sh("echo never"), Services: []driver.Service{{Container: named("db", "sleep 60"), Ready: driver.Ready{TCP: 81, Timeout: time.Second}}}},
			driver.Result{Outcome: driver.ServiceFailed, Container: "db", Code: -1},
		},
		"port on localhost opens": {
			driver.TaskSpec{
				Container: sh("nc -w 2 127.0.0.1 8080 </dev/null"),
				Services:  []driver.Service{{Container: named("db", "sleep 0.5; exec httpd -f -p 127.0.0.1:8080"), Ready: driver.Ready{TCP: 8080}}},
			},
			driver.Result{Outcome: driver.Exited},
		},
		"well": {
			driver.TaskSpec{Container: sh("sleep 0.1; exit 2"), Services: []driver.Service{{Container: named("db", "sleep 60")}}},
			driver.Result{Outcome: driver.Exited, Code: 2},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			id := create(t, d, test.spec)
			r := follow(ctx, t, d, id)
			if lines, err := readAll(t, r); err != nil || strings.Contains(strings.Join(lines, "\n"), "never") {
				t.Errorf("log: %q, %v", lines, err)
			}
			got, err := d.Wait(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			got.Reason, got.Started, got.Ended = "", time.Time{}, time.Time{}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before := create(t, d, driver.TaskSpec{Container: sh("true")})
	var got []driver.Event
	enough := errors.New("enough")
	heard := make(chan driver.Event, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- d.Events(ctx, driver.ListOptions{}, func(e driver.Event) error {
			heard <- e
			if e.Removed {
				return enough
			}
			return nil
		})
	}()
	expect := func(id driver.TaskID, state driver.State) {
		t.Helper()
		select {
		case e := <-heard:
			got = append(got, e)
			if e.Task != id || e.State != state {
				t.Errorf("event %+v; want task %s, %v", e, id, state)
			}
		case <-ctx.Done():
			t.Fatalf("no event of %s %v; got %+v", id, state, got)
		}
	}
	expect(before, driver.StateCreated)
	id := create(t, d, driver.TaskSpec{Container: sh("sleep 0.5")})
	expect(id, driver.StateCreated)
	if err := d.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	expect(id, driver.StateRunning)
	expect(id, driver.StateEnded)
	if err := d.Stop(ctx, before, driver.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(before, driver.StateEnded)
	if err := d.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, enough) {
		t.Errorf("Events: %v", err)
	}
}

// TestStopWhileStarting stops a task in its first init container, which takes that for a success.
func TestStopWhileStarting(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first, second := sh("trap 'exit 0' TERM; echo ready; sleep 100 & wait"), sh("echo never")
	first.Name, second.Name = "first", "second"
	id := create(t, d, driver.TaskSpec{Container: sh("echo never"), Init: []driver.Container{first, second}})
	r, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	started := make(chan error, 1)
	go func() { started <- d.Start(ctx, id) }()
	if e, err := r.Next(); err != nil || string(e.Line) != "ready" {
		t.Fatalf("%q, %v", e.Line, err)
	}
	list, err := d.List(ctx, driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != driver.StateStarting {
		t.Errorf("list: %+v, %v; want a task that is starting", list, err)
	}
	if err := d.Stop(ctx, id, driver.StopOptions{Grace: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Errorf("Start: %v", err)
	}
	if res, err := d.Wait(ctx, id); err != nil || res.Outcome != driver.Stopped {
		t.Errorf("%v, %v", res, err)
	}
	if lines, err := readAll(t, r); err != nil || len(lines) != 0 {
		t.Errorf("log: %q, %v", lines, err)
	}
}

// TestNetworkOwnGoes refuses, as the daemon does for a moment after its last container has gone, the network's first removal.
func TestNetworkOwnGoes(t *testing.T) {
	d := open(t)
	refused := 0
	hook := func(r *http.Request) error {
		if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/networks/"+ownNetwork) && refused == 0 {
			refused++
			r.URL.Path = strings.TrimSuffix(r.URL.Path, ownNetwork) + "bridge" // which is Docker's own
		}
		return nil
	}
	if err := d.hook(t.Context(), hook); err != nil {
		t.Fatal(err)
	}
	id := create(t, d, driver.TaskSpec{Network: driver.Network{Mode: driver.NetworkOwn}, Container: sh("sleep 100")})
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	left, err := d.api.NetworkInspect(t.Context(), ownNetwork, client.NetworkInspectOptions{})
	if !errdefs.IsNotFound(err) && len(left.Network.Containers) == 0 || refused != 1 {
		t.Errorf("the network is still there: %+v, %v; its removal was refused %d times", left.Network, err, refused)
	}
}

// TestNetworkOwnWent removes the network just before a task is started: whoever looks at the task meanwhile takes it for one that may still be started.
func TestNetworkOwnWent(t *testing.T) {
	d := open(t)
	id := create(t, d, driver.TaskSpec{Network: driver.Network{Mode: driver.NetworkOwn}, Container: sh("true")})
	h, err := d.parse(string(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.removeOwnNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.api.ContainerStart(t.Context(), h.container, client.ContainerStartOptions{}); !missingOwnNetwork(err) {
		t.Fatalf("a start without the network: %v", err)
	}
	if list, err := d.List(t.Context(), driver.ListOptions{}); err != nil || len(list) != 1 || list[0].State != driver.StateCreated {
		t.Errorf("the task is %+v, %v", list, err)
	}
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if res, err := d.Wait(t.Context(), id); err != nil || !res.Succeeded() {
		t.Errorf("the task has ended as %v, %v", res, err)
	}
}
