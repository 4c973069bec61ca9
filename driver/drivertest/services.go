package drivertest

import (
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

func services() []Case {
	const (
		initRuns = "Init are the containers that run before the main one, one after another, on the same volumes. The first that does not exit with 0 ends the task as InitFailed: the result has its name, no container after it is started, and what it printed is in the log."
		joined   = "The containers of a task share one network namespace, so they reach each other on localhost, and by name where Network.Hosts gives them one."
		ready    = "The main container is started when every service is ready: when the port accepts a connection on localhost, or the command has exited with 0."
		never    = "A service that does not become ready in Ready.Timeout ends the task as ServiceFailed, with its name and code -1: the main container is not started, and what the service printed is in the log."
		died     = "ServiceFailed: the service died while the main container ran, or before it was ready; the result has its name and code. The main container is killed."
		ended    = "Services are ended when the main container has ended: by TERM, and by KILL if that does not help. Their end is no failure, and what they print until then is in the log."
	)
	return group("services",
		Case{ID: "init-order", Contract: initRuns, Run: initOrder},
		Case{ID: "init-fails", Contract: initRuns, Run: initFails},
		Case{ID: "init-cannot-start", Contract: "InitFailed: an init container that cannot be started has the code 127, and the runtime's words are the reason.", Run: initCannotStart},
		Case{ID: "localhost", Contract: joined, Run: serviceOnLocalhost},
		Case{ID: "by-name", Contract: joined, Run: serviceByName},
		Case{ID: "two", Contract: joined, Run: twoServices},
		Case{ID: "ready-tcp", Contract: ready, Run: readyTCP},
		Case{ID: "ready-exec", Contract: ready, Run: readyExec},
		Case{ID: "never-ready-tcp", Contract: never, Run: func(e *Env) { neverReady(e, driver.Ready{TCP: 81}) }},
		Case{ID: "never-ready-exec", Contract: never, Run: func(e *Env) { neverReady(e, driver.Ready{Exec: []string{"/testprog", "exit", "1"}}) }},
		Case{ID: "dies", Contract: died, Run: serviceDies},
		Case{ID: "dies-before-ready", Contract: died, Run: serviceDiesUnready},
		Case{ID: "ended", Contract: ended, Run: servicesEnded},
		Case{ID: "ended-by-force", Contract: ended, Run: servicesKilled},
		Case{ID: "stopped", Contract: "Stop sends TERM to the main process of each container.", Run: servicesStopped},
	)
}

// service returns a service of that name that runs the test program with these arguments.
func (e *Env) service(name string, ready driver.Ready, args ...string) driver.Service {
	return driver.Service{Container: e.named(name, args...), Ready: ready}
}

// withServices reports whether the driver has services, or wants them refused.
func (e *Env) withServices(spec driver.TaskSpec) bool {
	if !e.caps.Services {
		e.refused("Services", spec)
	}
	return e.caps.Services
}

func (e *Env) withInit(spec driver.TaskSpec) bool {
	if !e.caps.Init {
		e.refused("Init", spec)
	}
	return e.caps.Init
}

// initOrder lets each container need what the one before has left on a volume.
func initOrder(e *Env) {
	vol := e.volume()
	spec := e.with(vol, "cat", "/v/1", "/v/2", "/v/3")
	spec.Init = []driver.Container{
		e.named("one", "put", "/v/1", "a", ";", "refused", "stat", "/v/2"),
		e.named("two", "stat", "/v/1", ";", "refused", "stat", "/v/3", ";", "put", "/v/2", "b"),
		e.named("three", "stat", "/v/2", ";", "put", "/v/3", "c"),
	}
	for i := range spec.Init {
		spec.Init[i].Mounts = spec.Container.Mounts
	}
	if e.withInit(spec) {
		e.wantOutput(spec, `"a"`, `"b"`, `"c"`)
	}
}

func initFails(e *Env) {
	vol := e.volume()
	spec := e.with(vol, "put", "/v/main-ran", "x")
	spec.Init = []driver.Container{e.named("good", "exit", "0"), e.named("bad", "print", "it is broken", ";", "exit", "42"), e.named("never", "put", "/v/init-ran", "x")}
	spec.Init[2].Mounts = spec.Container.Mounts
	if !e.withInit(spec) {
		return
	}
	res, out := e.run(spec)
	if res.Outcome != driver.InitFailed || res.Container != "bad" || res.Code != 42 || !res.Started.IsZero() {
		e.Errorf("the result is %+v; want init container \"bad\" failed with code 42, and no start", res)
	}
	if lines := out.of("bad", driver.Stdout); !slices.Equal(lines, []string{"it is broken"}) {
		e.Errorf("the log has %q of the init container that failed", lines)
	}
	e.absent(onVolume(vol), "/main-ran", errdefs.ErrNotFound)
	e.absent(onVolume(vol), "/init-ran", errdefs.ErrNotFound)
}

func initCannotStart(e *Env) {
	spec := e.spec("exit", "0")
	broken := e.named("broken", "x")
	broken.Entrypoint = []string{"/no-such-command"}
	spec.Init = []driver.Container{broken}
	if !e.withInit(spec) {
		return
	}
	res, _ := e.run(spec)
	if res.Outcome != driver.InitFailed || res.Container != "broken" || res.Code != 127 || res.Reason == "" {
		e.Errorf("the result is %+v; want init container \"broken\" failed with code 127, and a reason", res)
	}
}

func serviceOnLocalhost(e *Env) {
	spec := e.spec("connect", "127.0.0.1:8080", "hello")
	spec.Services = []driver.Service{e.service("db", driver.Ready{TCP: 8080}, "serve", "127.0.0.1:8080")}
	if e.withServices(spec) {
		e.wantOutput(spec, `"helloend"`)
	}
}

func serviceByName(e *Env) {
	spec := e.spec("lookup", "db.example", ";", "connect", "db.example:8080", "hello")
	spec.Network.Hosts = map[string]string{"db.example": "127.0.0.1"}
	if !e.caps.Hosts {
		e.refused("Network.Hosts", spec)
		return
	}
	spec.Services = []driver.Service{e.service("db", driver.Ready{TCP: 8080}, "serve", ":8080")}
	if e.withServices(spec) {
		e.wantOutput(spec, "127.0.0.1", `"helloend"`)
	}
}

// twoServices lets one service use the other, as soon as that listens: they are started side by side.
func twoServices(e *Env) {
	vol := []driver.Mount{{Volume: e.volume(), Path: "/v"}}
	spec := e.spec("connect", "localhost:8080", "one", ";", "connect", "localhost:8081", "two")
	spec.Services = []driver.Service{
		e.service("first", driver.Ready{TCP: 8080}, "serve", ":8080", "/v/first"),
		e.service("second", driver.Ready{TCP: 8081}, "await", "/v/first", ";", "connect", "localhost:8080", "between", ";", "serve", ":8081"),
	}
	spec.Services[0].Mounts, spec.Services[1].Mounts = vol, vol
	if !e.withServices(spec) {
		return
	}
	out := e.succeed(spec)
	if lines := out.stdout(); !slices.Equal(lines, []string{`"oneend"`, `"twoend"`}) {
		e.Errorf("the main container printed %q", lines)
	}
	if lines := out.of("second", driver.Stdout); !slices.Equal(lines, []string{`"betweenend"`, "ready"}) {
		e.Errorf("the second service printed %q", lines)
	}
}

func readyTCP(e *Env) {
	spec := e.spec("connect", "localhost:8080", "hello")
	spec.Services = []driver.Service{e.service("slow", driver.Ready{TCP: 8080}, "linger", "2", ";", "serve", "127.0.0.1:8080")}
	if e.withServices(spec) {
		e.wantOutput(spec, `"helloend"`)
	}
}

func readyExec(e *Env) {
	vol := e.volume()
	spec := e.with(vol, "cat", "/v/ready")
	slow := e.service("slow", driver.Ready{Exec: []string{"/testprog", "stat", "/v/ready"}}, "linger", "2", ";", "put", "/v/ready", "yes", ";", "trap-term", "0")
	slow.Mounts = spec.Container.Mounts
	spec.Services = []driver.Service{slow}
	if !e.withServices(spec) {
		return
	}
	if lines := e.succeed(spec).stdout(); !slices.Equal(lines, []string{`"yes"`}) {
		e.Errorf("the main container printed %q", lines)
	}
}

func neverReady(e *Env, ready driver.Ready) {
	vol := e.volume()
	spec := e.with(vol, "put", "/v/main-ran", "x")
	ready.Timeout = 2 * time.Second
	spec.Services = []driver.Service{e.service("db", ready, "print", "cannot begin", ";", "ignore-term")}
	if !e.withServices(spec) {
		return
	}
	began := time.Now()
	res, out := e.run(spec)
	if took := time.Since(began); took < ready.Timeout || took > ready.Timeout+e.suite.h.StopMargin+e.limit(10*time.Second) {
		e.Errorf("the task took %s; its service has %s to become ready", took, ready.Timeout)
	}
	if res.Outcome != driver.ServiceFailed || res.Container != "db" || res.Code != -1 || !res.Started.IsZero() {
		e.Errorf("the result is %+v; want service \"db\" failed with code -1, and no start", res)
	}
	if lines := out.of("db", driver.Stdout); len(lines) == 0 || lines[0] != "cannot begin" {
		e.Errorf("the log has %q of the service", lines)
	}
	e.absent(onVolume(vol), "/main-ran", errdefs.ErrNotFound)
}

func serviceDies(e *Env) {
	vol := e.volume()
	spec := e.with(vol, "put", "/v/go", "x", ";", "ignore-term")
	dies := e.service("db", driver.Ready{}, "await", "/v/go", ";", "print", "last words", ";", "exit", "4")
	dies.Mounts = spec.Container.Mounts
	spec.Services = []driver.Service{dies, e.service("other", driver.Ready{}, "trap-term", "0")}
	if !e.withServices(spec) {
		return
	}
	res, out := e.run(spec)
	if res.Outcome != driver.ServiceFailed || res.Container != "db" || res.Code != 4 {
		e.Errorf("the result is %+v; want service \"db\" failed with code 4", res)
	}
	if lines := out.of("db", driver.Stdout); !slices.Equal(lines, []string{"last words"}) {
		e.Errorf("the log has %q of the service", lines)
	}
}

func serviceDiesUnready(e *Env) {
	vol := e.volume()
	spec := e.with(vol, "put", "/v/main-ran", "x")
	spec.Services = []driver.Service{e.service("db", driver.Ready{TCP: 81}, "exit", "5")}
	if !e.withServices(spec) {
		return
	}
	res, _ := e.run(spec)
	if res.Outcome != driver.ServiceFailed || res.Container != "db" || res.Code != 5 || !res.Started.IsZero() {
		e.Errorf("the result is %+v; want service \"db\" failed with code 5, and no start", res)
	}
	e.absent(onVolume(vol), "/main-ran", errdefs.ErrNotFound)
}

func servicesEnded(e *Env) {
	spec := e.spec("await", "/go", ";", "exit", "3")
	spec.Services = []driver.Service{e.service("db", driver.Ready{}, "trap-term", "9")}
	if !e.withServices(spec) {
		return
	}
	id := e.startSpec(spec)
	e.awaitLine(id, "db", "ready")
	e.signal(id, "/go")
	e.wantExit(e.wait(id), 3)
	if lines := e.output(id).of("db", driver.Stdout); !slices.Equal(lines, []string{"ready", "got TERM"}) {
		e.Errorf("the service printed %q; want ready, got TERM", lines)
	}
}

func servicesKilled(e *Env) {
	spec := e.spec("exit", "3")
	spec.Services = []driver.Service{e.service("db", driver.Ready{TCP: 8080}, "serve", ":8080"), e.service("deaf", driver.Ready{}, "ignore-term")}
	if !e.withServices(spec) {
		return
	}
	res, out := e.run(spec) // reads the log to its end, which comes when every container has ended
	e.wantExit(res, 3)
	if lines := out.of("db", driver.Stdout); !slices.Equal(lines, []string{"ready"}) {
		e.Errorf("the service printed %q; want ready", lines)
	}
}

func servicesStopped(e *Env) {
	spec := e.spec("trap-term", "6")
	spec.Services = []driver.Service{e.service("db", driver.Ready{}, "trap-term", "7")}
	if !e.withServices(spec) {
		return
	}
	id, _ := e.ready(spec)
	e.awaitLine(id, "db", "ready")
	if took := e.stop(id, time.Minute); took > e.suite.h.StopMargin {
		e.Errorf("Stop took %s though every process obeyed at once", took)
	}
	e.wantExit(e.wait(id), 6)
	if lines := e.output(id).of("db", driver.Stdout); !slices.Equal(lines, []string{"ready", "got TERM"}) {
		e.Errorf("the service printed %q; want ready, got TERM", lines)
	}
}
