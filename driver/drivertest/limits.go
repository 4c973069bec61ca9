package drivertest

import (
	"archive/tar"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

func limits() []Case {
	const (
		zero    = "With the zero value of Security a container has no privilege, gains none by set-uid programs, keeps only the capabilities of DefaultCapabilities, and sees nothing of the host. "
		beyond  = "What goes beyond the safe choice is refused by Create with PermissionDenied unless the driver's configuration allows it. "
		allowed = "What the installation's configuration allows beyond the safe choice is claimed, and works; what the runtime cannot do is ErrUnsupported. "
	)
	return group("limits",
		Case{ID: "memory", Contract: "Memory is the limit in bytes; beyond it the kernel kills (OutOfMemory). Swap is not added to it. Zero is none.", Run: memoryHolds},
		Case{ID: "cpu", Contract: "CPU is the limit in thousandths of a processor.", Run: cpuHolds},
		Case{ID: "pids", Contract: "PIDs is the limit of processes and threads. Zero is none.", Run: pidsHold},
		Case{ID: "read-only-root", Contract: "ReadOnlyRoot mounts the root file system read-only. Volumes stay as their mounts say.", Run: readOnlyRoot},
		Case{ID: "non-root", Contract: "NonRoot refuses to run as user 0: the task ends as StartFailed.", Run: nonRoot},
		Case{ID: "capabilities", Contract: zero, Run: defaultCapabilities},
		Case{ID: "capabilities-dropped", Contract: "DropAll drops every capability, the default ones included.", Run: dropAll},
		Case{ID: "no-new-privileges", Contract: zero, Run: noNewPrivileges},
		Case{ID: "device", Contract: beyond + "A device of the host is a host path like any other.", Run: device},
		Case{ID: "every-container", Contract: beyond + "So it is for init containers and services.", Run: refusedEverywhere},
		Case{ID: "allowed-privileged", Contract: allowed, Run: allowedPrivileged},
		Case{ID: "allowed-capabilities", Contract: allowed, Run: allowedCapabilities},
		Case{ID: "allowed-new-privileges", Contract: allowed, Run: allowedNewPrivileges},
		Case{ID: "allowed-host-network", Contract: allowed, Run: allowedHostNetwork},
		Case{ID: "allowed-host-paths", Contract: allowed, Run: allowedHostPaths},
		Case{ID: "secret-present", Contract: "Secrets are files in the containers of the task.", Run: secretPresent},
		Case{ID: "secret-directories", Contract: "Directories of a secret's path that are missing are made, for all to enter; others keep their mode.", Run: secretDirectories},
		Case{ID: "secret-of-one", Contract: "Containers are the names of the containers that have the file; the others do not see it.", Run: secretOfOne},
		Case{ID: "secret-hidden", Contract: "Secrets are kept out of what the runtime shows: inspect, labels, arguments, events. The value never appears in errors.", Run: secretHidden},
	)
}

func memoryHolds(e *Env) {
	const much = 3 * memoryLimit
	e.succeed(e.spec("eat", fmt.Sprint(much), ";", "exit", "0"))
	if spec, ok := withMemoryLimit(e, e.spec("eat", fmt.Sprint(much), ";", "exit", "0")); ok {
		res, out := e.run(spec)
		wantOutOfMemory(e, res, out)
	}
}

func cpuHolds(e *Env) {
	const seconds, thousandths = 3, 300
	spec := e.spec("burn", fmt.Sprint(seconds))
	spec.Container.Resources.CPU = thousandths
	if !e.caps.CPULimit {
		e.refused("Resources.CPU", spec)
		return
	}
	lines := e.succeed(spec).stdout()
	if len(lines) != 1 {
		e.Fatalf("the task printed %q", lines)
	}
	used, err := strconv.Atoi(lines[0])
	e.must("read the processor time", err)
	// What the kernel grants comes in pieces of a tenth of a second; the process begins and ends within some of them.
	if want := seconds * thousandths; used < 1 || used > want*13/10+200 {
		e.Errorf("with a limit of %d/1000, %d s of work got %d ms of processor time; want about %d", thousandths, seconds, used, want)
	}
}

func pidsHold(e *Env) {
	const children, limit = 60, 25
	e.wantOutput(e.spec("fork", fmt.Sprint(children)), fmt.Sprintf("forked %d", children))
	spec := e.spec("fork", fmt.Sprint(children))
	spec.Container.Resources.PIDs = limit
	if !e.caps.PIDLimit {
		e.refused("Resources.PIDs", spec)
		return
	}
	res, out := e.run(spec)
	if res.Succeeded() || len(out.stdout()) > 0 {
		e.Errorf("%d processes run with a limit of %d: %v\n%s", children, limit, res, out)
	}
}

func readOnlyRoot(e *Env) {
	spec := e.with(e.volume(), "refused", "put", "/new", "x", ";", "refused", "put", "/testprog", "x", ";", "put", "/v/new", "x")
	spec.Container.Security.ReadOnlyRoot = true
	e.succeed(spec)
}

func nonRoot(e *Env) {
	for _, user := range []string{"", "0", "root"} {
		spec := e.spec("print", "ran")
		spec.Container.Image, spec.Container.User = e.suite.usersImage, user
		spec.Container.Entrypoint = []string{"/testprog"}
		if user == "" {
			spec.Container.Image = e.suite.image
		}
		spec.Container.Security.NonRoot = true
		res, out := e.run(spec)
		if res.Outcome != driver.StartFailed || len(out) > 0 {
			e.Errorf("as user %q the result is %+v; want start failed\n%s", user, res, out)
		}
	}
	spec := e.spec("id")
	spec.Container.User, spec.Container.Security.NonRoot = "1000:1000", true
	e.wantOutput(spec, "1000:1000")
}

// sorted joins names as the verb "capabilities" does.
func sorted(names ...string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(names, " ")
}

func defaultCapabilities(e *Env) {
	e.wantOutput(e.spec("capabilities"), sorted(driver.DefaultCapabilities...))
	spec := e.spec("capabilities")
	spec.Container.User = "1000"
	e.wantOutput(spec, "")
}

func dropAll(e *Env) {
	spec := e.spec("capabilities", ";", "refused", "chown", "/testprog", "1", "1")
	spec.Container.Security.DropAll = true
	if lines := e.succeed(spec).stdout(); lines[0] != "" {
		e.Errorf("the capabilities are %q; want none", lines[0])
	}
}

// setUID returns a task of user 1000 in which the test program is root's and set-uid.
func (e *Env) setUID(allow bool) driver.TaskID {
	spec := e.spec("id", ";", "euid")
	spec.Container.User = "1000:1000"
	spec.Container.Security.AllowNewPrivileges = allow
	id := e.create(spec)
	e.copyIn(onTask(id), "/", file{tar.Header{Name: "testprog", Mode: 0o4755}, string(e.program())})
	return id
}

func (e *Env) wantLines(id driver.TaskID, want ...string) {
	e.must("Start", e.d.Start(e.ctx, id))
	e.wantExit(e.wait(id), 0)
	if lines := e.output(id).stdout(); !slices.Equal(lines, want) {
		e.Errorf("the task printed %q; want %q", lines, want)
	}
}

func noNewPrivileges(e *Env) {
	e.wantLines(e.setUID(false), "1000:1000", "1000")
}

// forbidden wants the spec refused, by policy or because the runtime cannot do it, and the field named.
func (e *Env) forbidden(field string, spec driver.TaskSpec) {
	id, err := e.d.Create(e.ctx, spec)
	switch {
	case err == nil:
		e.removeLater(id)
		e.Errorf("Create accepts %s", field)
	case !errdefs.IsPermissionDenied(err) && !errdefs.IsNotImplemented(err):
		e.Errorf("Create with %s: %v; want it refused by policy, or as unsupported", field, err)
	case !strings.Contains(err.Error(), field):
		e.Errorf("the error does not name the field %s: %v", field, err)
	}
}

func device(e *Env) {
	spec := e.spec("exit", "0")
	spec.Container.Security.HostPaths = map[string]string{"/dev/kmsg": "/dev/kmsg"}
	if !e.caps.HostPaths {
		e.forbidden("Security.HostPaths", spec)
		return
	}
	e.succeed(spec)
}

func refusedEverywhere(e *Env) {
	if e.caps.Privileged {
		return // by this installation's choice; see abilities/field-security-privileged
	}
	for _, put := range []func(*driver.TaskSpec, driver.Container){
		func(s *driver.TaskSpec, c driver.Container) { s.Init = []driver.Container{c} },
		func(s *driver.TaskSpec, c driver.Container) { s.Services = []driver.Service{{Container: c}} },
	} {
		spec := e.spec("exit", "0")
		c := e.named("helper", "exit", "0")
		c.Security.Privileged = true
		put(&spec, c)
		if e.caps.Init && e.caps.Services {
			e.forbidden("Security.Privileged", spec)
		} else {
			e.forbidden("", spec)
		}
	}
}

// allow goes on with a driver value whose installation allows everything, where the harness has one.
func (e *Env) allow() {
	if e.suite.h.OpenAllowing == nil {
		return
	}
	d, err := e.suite.h.OpenAllowing(e.ctx, e.owner)
	e.must("open a driver that allows more", err)
	caps, err := d.Capabilities(e.ctx)
	e.must("Capabilities", err)
	e.closeLater(d)
	e.d, e.caps = d, caps
}

func allowedPrivileged(e *Env) {
	e.allow()
	spec := e.spec("capabilities")
	spec.Container.Security.Privileged = true
	if !e.caps.Privileged {
		e.forbidden("Security.Privileged", spec)
		return
	}
	lines := e.succeed(spec).stdout()
	if len(lines) != 1 || testprog.CapabilityMask(strings.Fields(lines[0]))&testprog.CapabilityMask([]string{"SYS_ADMIN"}) == 0 {
		e.Errorf("a privileged container has the capabilities %q", lines)
	}
}

func allowedCapabilities(e *Env) {
	e.allow()
	spec := e.spec("capabilities")
	spec.Container.Security.AddCapabilities = []string{"NET_ADMIN"}
	if !e.caps.AddCapabilities {
		e.forbidden("Security.AddCapabilities", spec)
		return
	}
	e.wantOutput(spec, sorted(append(slices.Clone(driver.DefaultCapabilities), "NET_ADMIN")...))
	spec = e.spec("capabilities")
	spec.Container.Security = driver.Security{DropAll: true, AddCapabilities: []string{"NET_ADMIN"}}
	e.wantOutput(spec, "NET_ADMIN")
}

func allowedNewPrivileges(e *Env) {
	e.allow()
	if !e.caps.NewPrivileges {
		spec := e.spec("exit", "0")
		spec.Container.Security.AllowNewPrivileges = true
		e.forbidden("Security.AllowNewPrivileges", spec)
		return
	}
	e.wantLines(e.setUID(true), "1000:1000", "0")
}

// allowedHostNetwork lets two tasks meet on the host's own localhost.
func allowedHostNetwork(e *Env) {
	e.allow()
	address := fmt.Sprintf("127.0.0.1:%d", 20000+e.seed()%10000)
	server, client := e.spec("serve", address), e.spec("connect", address, "hello")
	server.Container.Security.HostNetwork, client.Container.Security.HostNetwork = true, true
	if !e.caps.HostNetwork {
		e.forbidden("Security.HostNetwork", server)
		return
	}
	e.ready(server)
	e.wantOutput(client, `"helloend"`)
}

func allowedHostPaths(e *Env) {
	e.allow()
	spec := e.spec("stat", "/host/etc", "/host/usr")
	spec.Container.Security.HostPaths = map[string]string{"/host": "/"}
	if !e.caps.HostPaths {
		e.forbidden("Security.HostPaths", spec)
		return
	}
	e.succeed(spec)
}
