package drivertest

import (
	"net"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
)

func network() []Case {
	const (
		namespace = "Every running task has a network namespace of its own in every mode."
		own       = "NetworkOwn: ways out, but no other task reaches this one, nor the other way round."
		dial      = "Dial connects to a TCP port in the task's network namespace, also one that listens on localhost only. The connection supports CloseWrite. "
	)
	return group("network",
		Case{ID: "init", Contract: "Network says what a task reaches: it holds for each of its containers.", Run: networkOfInit},
		Case{ID: "own-ports", Contract: namespace, Run: ownPorts},
		Case{ID: "own-unreachable", Contract: own, Run: func(e *Env) { unreachable(e, driver.NetworkOwn) }},
		Case{ID: "own-from-default", Contract: own, Run: func(e *Env) { unreachable(e, driver.NetworkDefault) }},
		Case{ID: "own-forty", Contract: own + " There is room for many at once.", Run: forty, Timeout: 5 * time.Minute},
		Case{ID: "none", Contract: "NetworkNone: localhost only.", Run: networkNone},
		Case{ID: "dns", Contract: "DNS are the addresses of the name servers to use.", Run: nameServers},
		Case{ID: "hosts", Contract: "Hosts are further names, each with its address, for /etc/hosts.", Run: extraHosts},
		Case{ID: "hosts-services", Contract: "Network says what a task reaches: it holds for each of its containers.", Run: hostsOfService},
		Case{ID: "dial-localhost", Contract: dial, Run: func(e *Env) { dialEcho(e, "127.0.0.1:8080") }},
		Case{ID: "dial-all-addresses", Contract: dial, Run: func(e *Env) { dialEcho(e, ":8080") }},
		Case{ID: "dial-service", Contract: dial, Run: dialService},
		Case{ID: "dial-no-network", Contract: dial + "It does so in every mode of the network.", Run: dialNoNetwork},
		Case{ID: "dial-many", Contract: dial + "Many may be open at once.", Run: dialMany},
		Case{ID: "dial-large", Contract: dial + "Both directions carry any amount, at once; each ends by itself.", Run: dialLarge},
		Case{ID: "dial-ended", Contract: "Dial: FailedPrecondition if the task does not run; NotFound for an unknown task.", Run: dialEnded},
	)
}

// networkOfInit wants an init container to have the addresses that the main container has.
func networkOfInit(e *Env) {
	spec := e.spec("addresses")
	spec.Init = []driver.Container{e.named("before", "addresses")}
	if !e.withInit(spec) {
		return
	}
	id := e.startSpec(spec)
	e.wantExit(e.wait(id), 0)
	out := e.output(id)
	before, main := out.of("before", driver.Stdout), out.of(driver.MainContainer, driver.Stdout)
	if len(main) == 0 || len(strings.Fields(main[0])) == 0 {
		e.Errorf("the main container has no address; its output is %q", main)
	}
	if diff := cmp.Diff(main, before); diff != "" {
		e.Errorf("addresses of the main container (-) and of the init container (+) differ:\n%s", diff)
	}
}

// ownPorts lets two tasks listen on the same port.
func ownPorts(e *Env) {
	e.ready(e.spec("serve", ":8080"))
	e.ready(e.spec("serve", ":8080"))
	e.succeed(e.spec("refused", "connect", "127.0.0.1:8080", "hello"))
}

// onNetwork returns a spec with the mode of the network, or wants it refused where it is not claimed.
func (e *Env) onNetwork(mode driver.NetworkMode, args ...string) (driver.TaskSpec, bool) {
	spec := e.spec(args...)
	spec.Network.Mode = mode
	claimed := mode == driver.NetworkDefault || mode == driver.NetworkOwn && e.caps.NetworkOwn || mode == driver.NetworkNone && e.caps.NetworkNone
	if !claimed {
		e.refused("Network.Mode", spec)
	}
	return spec, claimed
}

// unreachable looks whether a task, on a network of that mode, reaches a task on its own network.
func unreachable(e *Env, from driver.NetworkMode) {
	spec, ok := e.onNetwork(driver.NetworkOwn, "addresses", ";", "serve", ":8080")
	if !ok {
		return
	}
	id := e.startSpec(spec)
	r := e.logs(e.d, id, driver.LogOptions{Follow: true})
	entry, err := r.Next()
	e.must("read the task's addresses", err)
	addresses := strings.Fields(string(entry.Line))
	if len(addresses) == 0 {
		e.Fatalf("the task has no address; on a network of its own there are ways out")
	}
	e.await(r, "ready")
	var args []string
	for _, a := range addresses {
		args = append(args, "refused", "connect", net.JoinHostPort(a, "8080"), "hello", ";")
	}
	other, _ := e.onNetwork(from, args...)
	e.succeed(other)
	e.must("Remove", e.d.Remove(e.ctx, id))
}

// forty runs as many tasks at once as runtimes have address pools, and more.
func forty(e *Env) {
	const tasks = 40
	if spec, ok := e.onNetwork(driver.NetworkOwn, "exit", "0"); !ok || e.createLater(spec) != nil {
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	ids := make([]driver.TaskID, tasks)
	for i := range ids {
		spec, _ := e.onNetwork(driver.NetworkOwn, "addresses", ";", "serve", ":8080")
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var err error
			if ids[i], err = e.d.Create(e.ctx, spec); err == nil {
				e.removeLater(ids[i])
				err = e.d.Start(e.ctx, ids[i])
			}
			if err != nil {
				e.Errorf("task %d of %d: %v", i+1, tasks, err)
			}
		})
	}
	wg.Wait()
	running, err := e.d.List(e.ctx, driver.ListOptions{})
	e.must("List", err)
	n := 0
	for _, t := range running {
		if t.State == driver.StateRunning {
			n++
		}
	}
	if n != tasks {
		e.Errorf("%d tasks run; want %d at once", n, tasks)
	}
	for _, id := range ids {
		if id != "" {
			wg.Go(func() { e.removeNow(id) })
		}
	}
	wg.Wait()
}

// createLater makes a task that the end of the case removes.
func (e *Env) createLater(spec driver.TaskSpec) error {
	id, err := e.d.Create(e.ctx, spec)
	if err != nil {
		e.Errorf("Create: %v", err)
		return err
	}
	e.removeLater(id)
	return nil
}

func (e *Env) removeNow(id driver.TaskID) {
	if err := e.d.Remove(e.ctx, id); err != nil {
		e.Errorf("Remove %s: %v", id, err)
	}
}

func networkNone(e *Env) {
	server, _ := e.ready(e.spec("serve", ":8080"))
	defer e.removeNow(server)
	// 192.0.2.1 is an address of documentation: whatever it is for others, here there is not even a way to it.
	spec, ok := e.onNetwork(driver.NetworkNone, "addresses", ";", "refused", "connect", "192.0.2.1:80", "hello", ";", "serve", "127.0.0.1:8080")
	if !ok {
		return
	}
	id := e.startSpec(spec)
	r := e.logs(e.d, id, driver.LogOptions{Follow: true})
	entry, err := r.Next()
	e.must("read the task's addresses", err)
	if len(entry.Line) > 0 {
		e.Errorf("the task has the addresses %q; want none", entry.Line)
	}
	e.await(r, "ready") // localhost is there
}

func nameServers(e *Env) {
	spec := e.spec("lookup", "a-name.example", ";", "refused", "lookup", "another.example")
	spec.Network.DNS = []string{"127.0.0.1"}
	if !e.caps.DNS {
		e.refused("Network.DNS", spec)
		return
	}
	server := e.service("dns", driver.Ready{}, "names", "a-name.example", "198.51.100.7")
	server.Ready.Exec = []string{"/testprog", "lookup", "a-name.example"}
	spec.Services = []driver.Service{server}
	if e.withServices(spec) {
		e.wantLine(spec, "198.51.100.7")
	}
}

// wantLine runs a task and wants this as the first line of its main container.
func (e *Env) wantLine(spec driver.TaskSpec, want string) {
	if lines := e.succeed(spec).stdout(); len(lines) == 0 || lines[0] != want {
		e.Errorf("the main container printed %q; want %q", lines, want)
	}
}

func extraHosts(e *Env) {
	spec := e.spec("lookup", "one.example", "two")
	spec.Network.Hosts = map[string]string{"one.example": "198.51.100.1", "two": "198.51.100.2"}
	if !e.caps.Hosts {
		e.refused("Network.Hosts", spec)
		return
	}
	e.wantOutput(spec, "198.51.100.1", "198.51.100.2")
}

func hostsOfService(e *Env) {
	spec := e.spec("lookup", "one.example")
	spec.Network.Hosts = map[string]string{"one.example": "198.51.100.1"}
	if !e.caps.Hosts {
		e.refused("Network.Hosts", spec)
		return
	}
	spec.Services = []driver.Service{e.service("db", driver.Ready{Exec: []string{"/testprog", "lookup", "one.example"}, Timeout: e.limit(20 * time.Second)}, "trap-term", "0")}
	if e.withServices(spec) {
		e.wantLine(spec, "198.51.100.1")
	}
}
