package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

func abilities() []Case {
	const both = "What Capabilities claim works; what they do not claim is refused with ErrUnsupported. "
	cases := []Case{
		{ID: "runtime", Contract: "Capabilities says which runtime this is: Runtime, OS and Arch are set.", Run: runtimeNamed},
		{ID: "exec", Contract: both + "Exec runs the command to its end, and returns when all its output has been written.", Run: execAbility},
		{ID: "dial", Contract: both + "Dial: Unavailable if nothing listens.", Run: dialAbility},
		{ID: "events", Contract: both + "Events calls f first for the state of each task as it is, then for each change.", Run: eventsAbility},
		{ID: "events-of-several", Contract: "Events tells of a task of several containers when it is complete, when its init containers run, and when the main one does.", Run: eventsOfSeveral},
		{ID: "pull", Contract: both + "Pull fetches the image by its policy; errors as in Create.", Run: pullAbility},
		{ID: "stats", Contract: both + "Stats returns the sum over the containers of a task that runs.", Run: statsAbility},
		{ID: "sandboxes", Contract: both + "Sandbox is the network namespace to use, made by CreateSandbox.", Run: sandboxAbility},
		{ID: "init", Contract: both + "Init containers run before the main container, one after another. The first that does not exit with 0 ends the task as InitFailed.", Run: initAbility},
		{ID: "services", Contract: both + "Services run beside the main container, and are ended when it has ended.", Run: servicesAbility},
		{ID: "secrets", Contract: both + "Secrets are files in every container of the task.", Run: secretsAbility},
	}
	for _, field := range fields {
		cases = append(cases, Case{
			ID:       "field-" + strings.ToLower(strings.ReplaceAll(field.name, ".", "-")),
			Contract: both + "The error names the field.",
			Run:      func(e *Env) { fieldAbility(e, field) },
		})
	}
	return group("abilities", cases...)
}

// field is a field of the spec that only some drivers honour.
type field struct {
	name    string
	claimed func(driver.Capabilities) bool
	set     func(*driver.TaskSpec)
	policy  bool // PermissionDenied is as good as ErrUnsupported
}

var fields = []field{
	{"Network.DNS", func(c driver.Capabilities) bool { return c.DNS }, func(s *driver.TaskSpec) { s.Network.DNS = []string{"192.0.2.1"} }, false},
	{"Network.Hosts", func(c driver.Capabilities) bool { return c.Hosts }, func(s *driver.TaskSpec) { s.Network.Hosts = map[string]string{"other": "192.0.2.1"} }, false},
	{"Network.Mode", func(c driver.Capabilities) bool { return c.NetworkNone }, func(s *driver.TaskSpec) { s.Network.Mode = driver.NetworkNone }, false},
	{"Resources.CPU", func(c driver.Capabilities) bool { return c.CPULimit }, func(s *driver.TaskSpec) { s.Container.Resources.CPU = 500 }, false},
	{"Resources.PIDs", func(c driver.Capabilities) bool { return c.PIDLimit }, func(s *driver.TaskSpec) { s.Container.Resources.PIDs = 100 }, false},
	{"Placement", func(c driver.Capabilities) bool { return c.Placement }, func(s *driver.TaskSpec) { s.Placement.ServiceAccount = "default" }, false},
	{"Security.Privileged", func(c driver.Capabilities) bool { return c.Privileged }, func(s *driver.TaskSpec) { s.Container.Security.Privileged = true }, true},
	{"Security.HostNetwork", func(c driver.Capabilities) bool { return c.HostNetwork }, func(s *driver.TaskSpec) { s.Container.Security.HostNetwork = true }, true},
	{"Security.HostPaths", func(c driver.Capabilities) bool { return c.HostPaths }, func(s *driver.TaskSpec) { s.Container.Security.HostPaths = map[string]string{"/host": "/"} }, true},
	{"Security.AddCapabilities", func(c driver.Capabilities) bool { return c.AddCapabilities }, func(s *driver.TaskSpec) { s.Container.Security.AddCapabilities = []string{"NET_ADMIN"} }, true},
	{"Security.AllowNewPrivileges", func(c driver.Capabilities) bool { return c.NewPrivileges }, func(s *driver.TaskSpec) { s.Container.Security.AllowNewPrivileges = true }, true},
}

// fieldAbility runs a task with the field set, or wants it refused.
func fieldAbility(e *Env, f field) {
	spec := e.spec("exit", "3")
	f.set(&spec)
	if f.claimed(e.caps) {
		res, _ := e.run(spec)
		e.wantExit(res, 3)
		return
	}
	id, err := e.d.Create(e.ctx, spec)
	switch {
	case err == nil:
		e.removeLater(id)
		e.Errorf("Create accepts %s, which Capabilities do not claim", f.name)
	case !errors.Is(err, driver.ErrUnsupported) && !(f.policy && errors.Is(err, errdefs.ErrPermissionDenied)):
		e.Errorf("Create with %s: %v; want it refused as unsupported, or by policy where there is one", f.name, err)
	case !strings.Contains(err.Error(), f.name):
		e.Errorf("the error does not name the field %s: %v", f.name, err)
	}
}

// unclaimed reports whether the ability is not claimed, and fails the case unless err says that it is not supported.
func (e *Env) unclaimed(claimed bool, what string, err error) bool {
	if !claimed {
		if !errors.Is(err, driver.ErrUnsupported) {
			e.Errorf("%s, which Capabilities do not claim: %v; want an error that matches ErrUnsupported", what, err)
		}
	} else if errors.Is(err, driver.ErrUnsupported) {
		e.Fatalf("%s, which Capabilities claim: %v", what, err)
	}
	return !claimed
}

func runtimeNamed(e *Env) {
	if e.caps.Runtime == "" || e.caps.OS == "" || e.caps.Arch == "" {
		e.Errorf("Capabilities are %+v; want Runtime, OS and Arch set", e.caps)
	}
	again, err := e.d.Capabilities(e.ctx)
	e.must("Capabilities", err)
	if again != e.caps {
		e.Errorf("Capabilities were %+v first and %+v later", e.caps, again)
	}
}

func execAbility(e *Env) {
	id, _ := e.ready(e.spec("trap-term", "0"))
	var stdout, stderr bytes.Buffer
	res, err := driver.Exec(e.ctx, e.d, id, driver.ExecSpec{
		Args:   []string{"/testprog", "print", "out", ";", "eprint", "err", ";", "env", ";", "exit", "5"},
		Env:    map[string]string{"ADDED": "by exec"},
		Stdout: &stdout, Stderr: &stderr,
	})
	if e.unclaimed(e.caps.Exec, "Exec", err) {
		return
	}
	e.must("Exec", err)
	e.wantExit(res, 5)
	if out := stdout.String(); !strings.HasPrefix(out, "out\n") || !strings.Contains(out, `"ADDED=by exec"`) || stderr.String() != "err\n" {
		e.Errorf("Exec wrote %q and %q", out, stderr.String())
	}
	e.stop(id, time.Minute)
	_, err = driver.Exec(e.ctx, e.d, id, driver.ExecSpec{Args: []string{"/testprog", "exit", "0"}})
	e.wantError("Exec in a task that has ended", err, errdefs.ErrFailedPrecondition)
}

func dialAbility(e *Env) {
	id, _ := e.ready(e.spec("trap-term", "0"))
	c, err := driver.Dial(e.ctx, e.d, id, 7)
	if err == nil {
		c.Close()
	}
	if !e.unclaimed(e.caps.Dial, "Dial", err) {
		e.wantError("Dial of a port where nothing listens", err, errdefs.ErrUnavailable)
	}
}

// follow hands on what Events tells of the tasks with these labels, until one is removed: then it has ended with errSeen.
func (e *Env) follow(ctx context.Context, labels map[string]string) (events <-chan driver.Event, ended <-chan error) {
	told, result := make(chan driver.Event, 100), make(chan error, 1)
	go func() {
		result <- driver.Events(ctx, e.d, driver.ListOptions{Labels: labels}, func(ev driver.Event) error {
			told <- ev
			if ev.Removed {
				return errSeen
			}
			return nil
		})
	}()
	return told, result
}

var errSeen = errors.New("seen enough")

func eventsAbility(e *Env) {
	spec := e.spec("trap-term", "0")
	spec.Labels = map[string]string{"watched": "yes"}
	id := e.create(spec)
	e.create(e.spec("exit", "0")) // not selected
	ctx, cancel := contextWithCause(e)
	events, ended := e.follow(ctx, spec.Labels)
	if !e.caps.Events {
		e.unclaimed(false, "Events", receive(e, "Events", ended))
		return
	}
	var seen []driver.Event
	until := func(what string, match func(driver.Event) bool) {
		for {
			select {
			case ev := <-events:
				if seen = append(seen, ev); ev.Task != id {
					e.Errorf("an event tells of the task %s, which was not selected", ev.Task)
				}
				if match(ev) {
					return
				}
			case <-e.ctx.Done():
				e.Fatalf("no event that the task is %s; got %+v", what, seen)
			}
		}
	}
	until("created", func(ev driver.Event) bool { return ev.State == driver.StateCreated })
	e.must("Start", e.d.Start(e.ctx, id))
	until("running", func(ev driver.Event) bool { return ev.State == driver.StateRunning })
	e.await(e.logs(e.d, id, driver.LogOptions{Follow: true}), "ready")
	e.stop(id, time.Minute)
	until("ended", func(ev driver.Event) bool { return ev.State == driver.StateEnded })
	e.must("Remove", e.d.Remove(e.ctx, id))
	until("removed", func(ev driver.Event) bool { return ev.Removed })
	if err := receive(e, "Events", ended); !errors.Is(err, errSeen) {
		e.Errorf("Events returned %v; want the error of its function", err)
	}
	cancel(nil)
}

// eventsOfSeveral follows a task of several containers that is made when Events is listening already.
func eventsOfSeveral(e *Env) {
	if !e.caps.Events || !e.caps.Init {
		return // as the other cases show
	}
	selected := map[string]string{"watched": "yes"}
	before := e.spec("exit", "0")
	before.Labels = selected
	e.create(before)
	events, ended := e.follow(e.ctx, selected)
	next := func(what string) driver.Event {
		select {
		case ev := <-events:
			return ev
		case <-e.ctx.Done():
			e.Fatalf("no event that the task is %s", what)
			return driver.Event{}
		}
	}
	next("created") // the one before
	spec := e.spec("exit", "0")
	spec.Labels, spec.Init = selected, []driver.Container{e.named("before", "linger", "2")}
	if e.caps.Secrets {
		spec.Secrets = []driver.Secret{{Name: "file", Path: "/run/file", Value: []byte("secret")}}
	}
	id := e.create(spec)
	started := make(chan error, 1)
	last := driver.StateUnknown
	for _, want := range []driver.State{driver.StateCreated, driver.StateStarting, driver.StateRunning, driver.StateEnded} {
		for last < want {
			ev := next(want.String())
			if ev.Task != id || ev.Removed {
				e.Errorf("after the task was %s there is the event %+v", last, ev)
				continue
			}
			if ev.State < last {
				e.Errorf("after the task was %s it is told to be %s", last, ev.State)
			}
			last = max(last, ev.State)
		}
		switch {
		case last > want && want != driver.StateRunning: // which is short
			e.Errorf("the task is %s; it was not told to be %s before", last, want)
		case want == driver.StateCreated:
			go func() { started <- e.d.Start(e.ctx, id) }()
		}
	}
	e.must("Start", receive(e, "Start", started))
	e.must("Remove", e.d.Remove(e.ctx, id))
	for !next("removed").Removed {
	}
	if err := receive(e, "Events", ended); !errors.Is(err, errSeen) {
		e.Errorf("Events returned %v; want the error of its function", err)
	}
}

func pullAbility(e *Env) {
	err := driver.Pull(e.ctx, e.d, driver.PullSpec{Image: e.suite.image, Policy: driver.PullIfNotPresent})
	if e.unclaimed(e.caps.Pull, "Pull", err) {
		return
	}
	e.must("Pull of an image that is there", err)
	err = driver.Pull(e.ctx, e.d, driver.PullSpec{Image: "localhost/wharf/no-such-image:1", Policy: driver.PullNever})
	e.wantError("Pull of an image that is not there, with the policy never", err, errdefs.ErrNotFound)
	err = driver.Pull(e.ctx, e.d, driver.PullSpec{Image: "UPPER//case:::tag"})
	e.wantError("Pull of a malformed name", err, errdefs.ErrInvalidArgument)
}

func statsAbility(e *Env) {
	id, _ := e.ready(e.spec("eat", fmt.Sprint(8<<20), ";", "trap-term", "0"))
	usage, err := driver.Stats(e.ctx, e.d, id)
	if e.unclaimed(e.caps.Stats, "Stats", err) {
		return
	}
	e.must("Stats", err)
	if usage.Memory < 8<<20 || usage.PIDs < 1 || usage.CPU < 0 {
		e.Errorf("Stats of a task that holds 8 MiB: %+v", usage)
	}
	e.stop(id, time.Minute)
	_, err = driver.Stats(e.ctx, e.d, id)
	e.wantError("Stats of a task that has ended", err, errdefs.ErrFailedPrecondition)
}

func sandboxAbility(e *Env) {
	spec := driver.SandboxSpec{Name: e.name(), Labels: map[string]string{"a": "b"}}
	box, err := driver.CreateSandbox(e.ctx, e.d, spec)
	if e.unclaimed(e.caps.Sandboxes, "CreateSandbox", err) {
		return
	}
	e.must("CreateSandbox", err)
	e.defers(func(ctx context.Context) {
		if err := driver.RemoveSandbox(ctx, e.d, box); err != nil {
			e.Errorf("RemoveSandbox: %v", err)
		}
	})
	_, err = driver.CreateSandbox(e.ctx, e.d, spec)
	e.wantError("CreateSandbox with a name in use", err, errdefs.ErrAlreadyExists)
	list, err := driver.ListSandboxes(e.ctx, e.d, driver.ListOptions{Labels: spec.Labels})
	e.must("ListSandboxes", err)
	if len(list) != 1 || list[0].ID != box || list[0].Name != spec.Name {
		e.Errorf("ListSandboxes has %+v; want %s", list, box)
	}
	for code := range 2 { // in turn
		task := e.spec("exit", fmt.Sprint(code))
		task.Sandbox = box
		res, _ := e.run(task)
		e.wantExit(res, code)
	}
	for range 2 {
		e.must("RemoveSandbox", driver.RemoveSandbox(e.ctx, e.d, box))
	}
	task := e.spec("exit", "0")
	task.Sandbox = box
	_, err = e.d.Create(e.ctx, task)
	e.wantError("Create in a sandbox that was removed", err, errdefs.ErrNotFound)
}

func (e *Env) named(name string, args ...string) driver.Container {
	c := e.container(args...)
	c.Name = name
	return c
}

func initAbility(e *Env) {
	vol := e.volume()
	mounts := []driver.Mount{{Volume: vol, Path: "/v"}}
	spec := e.with(vol, "cat", "/v/one", "/v/two")
	spec.Init = []driver.Container{e.named("one", "put", "/v/one", "1"), e.named("two", "stat", "/v/one", ";", "put", "/v/two", "2")}
	spec.Init[0].Mounts, spec.Init[1].Mounts = mounts, mounts
	if !e.caps.Init {
		e.refused("Init", spec)
		return
	}
	e.wantOutput(spec, `"1"`, `"2"`)
	spec = e.with(vol, "put", "/v/main-ran", "x")
	spec.Init = []driver.Container{e.named("first", "exit", "0"), e.named("broken", "exit", "9"), e.named("third", "put", "/v/third-ran", "x")}
	spec.Init[2].Mounts = mounts
	res, _ := e.run(spec)
	if res.Outcome != driver.InitFailed || res.Container != "broken" || res.Code != 9 || !res.Started.IsZero() {
		e.Errorf("the result is %+v; want init container \"broken\" failed with code 9", res)
	}
	e.absent(onVolume(vol), "/main-ran", errdefs.ErrNotFound)
	e.absent(onVolume(vol), "/third-ran", errdefs.ErrNotFound)
}

func servicesAbility(e *Env) {
	vol := e.volume()
	spec := e.with(vol, "await", "/v/service-runs", ";", "print", "seen")
	service := e.named("db", "put", "/v/service-runs", "x", ";", "trap-term", "0")
	service.Mounts = spec.Container.Mounts
	spec.Services = []driver.Service{{Container: service}}
	if !e.caps.Services {
		e.refused("Services", spec)
		return
	}
	e.wantOutput(spec, "seen")
	spec = e.spec("ignore-term")
	spec.Services = []driver.Service{{Container: e.named("dies", "exit", "4")}}
	res, _ := e.run(spec)
	if res.Outcome != driver.ServiceFailed || res.Container != "dies" || res.Code != 4 {
		e.Errorf("the result is %+v; want service \"dies\" failed with code 4", res)
	}
}

func secretsAbility(e *Env) {
	spec := e.spec("cat", "/run/secrets/token", ";", "stat", "/run/secrets/token", "/other")
	const value = "the secret\x00value\n"
	spec.Secrets = []driver.Secret{
		{Name: "token", Path: "/run/secrets/token", Value: []byte(value)},
		{Name: "other", Path: "/other", Value: []byte("x"), Mode: 0o440, UID: 1000},
	}
	if !e.caps.Secrets {
		e.refused("Secrets", spec)
		return
	}
	lines := e.succeed(spec).stdout()
	want := []string{fmt.Sprintf("%q", value), `"/run/secrets/token" file 0400 0:0 17 `, `"/other" file 0440 1000:`}
	if !slices.EqualFunc(lines, want, strings.HasPrefix) {
		e.Errorf("the task sees %q; want lines that begin with %q", lines, want)
	}
}
