package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

func results() []Case {
	var cases []Case
	for _, code := range []int{0, 1, 2, 125, 126, 127, 128, 255} {
		cases = append(cases, Case{
			ID:       fmt.Sprintf("exit-code-%d", code),
			Contract: "Exited: the main process ended by itself with Result.Code, 0 to 255.",
			Run:      func(e *Env) { exitCode(e, code) },
		})
	}
	const (
		signaled    = "Signaled: the main process was killed by Result.Signal."
		startFailed = "StartFailed: the main process could not be started; Reason has the runtime's words. Start returns nil."
		outOfMemory = "OutOfMemory: the kernel killed the main process, or a child of it that made the main process fail, for want of memory."
		waits       = "Wait may be called before Start, while the task runs and after its end, any number of times and by many at once; each gets the same answer."
	)
	return group("results", append(cases, []Case{
		{ID: "killed-inside", Contract: signaled, Run: killedInside},
		{ID: "killed-outside", Contract: signaled, Run: killedOutside},
		{ID: "trapped-term", Contract: "Exited: the main process ended by itself. A TERM from outside that it traps and turns into exit 0 is a success.", Run: trappedTerm},
		{ID: "out-of-memory", Contract: outOfMemory, Run: outOfMemoryMain},
		{ID: "out-of-memory-child", Contract: outOfMemory, Run: outOfMemoryChild},
		{ID: "command-not-found", Contract: startFailed, Run: commandNotFound},
		{ID: "not-executable", Contract: startFailed, Run: notExecutable},
		{ID: "removed-outside", Contract: "Lost: the task was removed while it ran, by someone else. It is never a success.", Run: removedOutside},
		{ID: "wait-before-start", Contract: waits, Run: waitBeforeStart},
		{ID: "wait-after-exit", Contract: waits, Run: waitAfterExit},
		{ID: "wait-three-callers", Contract: waits, Run: waitThreeCallers},
		{ID: "wait-cancelled", Contract: "When ctx ends, the waiting ends and the task goes on. The error matches context.Cause of it.", Run: waitCancelled},
		{ID: "wait-removed", Contract: "Wait: NotFound for a task that was removed before the call.", Run: waitRemoved},
		{ID: "times", Contract: "Started and Ended are by the runtime's clock; Ended is not before Started.", Run: times},
		{ID: "holder", Contract: "The stream's end is not the process's end: a background child that holds standard output does not keep the task from ending.", Run: holderResult},
		{ID: "line-cut-while-waiting", Contract: "Wait: Unavailable when the runtime cannot be reached any more, after the driver has tried again. Success is only what the runtime itself has on record as exit code 0.", Run: lineCutWhileWaiting},
	}...)...)
}

func exitCode(e *Env, code int) {
	res, _ := e.run(e.spec("exit", fmt.Sprint(code)))
	e.wantExit(res, code)
	if res.Succeeded() != (code == 0) {
		e.Errorf("Succeeded is %t for code %d", res.Succeeded(), code)
	}
}

func killedInside(e *Env) {
	res, _ := e.run(e.spec("kill-self"))
	wantSignal(e, res, 9)
}

func wantSignal(e *Env, res driver.Result, signal int) {
	if res.Outcome != driver.Signaled || res.Signal != signal {
		e.Errorf("the result is %+v; want signaled by %d", res, signal)
	}
}

func killedOutside(e *Env) {
	id, _ := e.ready(e.spec("ignore-term"))
	e.must("Harness.SignalOutside", e.suite.h.SignalOutside(e.ctx, id, 9))
	wantSignal(e, e.wait(id), 9)
}

func trappedTerm(e *Env) {
	id, r := e.ready(e.spec("trap-term", "0"))
	e.must("Harness.SignalOutside", e.suite.h.SignalOutside(e.ctx, id, 15))
	e.await(r, "got TERM")
	e.wantExit(e.wait(id), 0)
}

// memoryLimit leaves room for the test program itself.
const memoryLimit = 64 << 20

// withMemoryLimit sets a limit, or makes sure that it is refused where limits are not claimed.
func withMemoryLimit(e *Env, spec driver.TaskSpec) (driver.TaskSpec, bool) {
	spec.Container.Resources.Memory = memoryLimit
	if !e.caps.MemoryLimit {
		e.refused("Resources.Memory", spec)
	}
	return spec, e.caps.MemoryLimit
}

// refused fails the case unless Create says that the field is not supported.
func (e *Env) refused(field string, spec driver.TaskSpec) {
	id, err := e.d.Create(e.ctx, spec)
	if err == nil {
		e.removeLater(id)
	}
	e.wantError("Create with "+field+", which Capabilities do not claim", err, driver.ErrUnsupported)
	if err != nil && !strings.Contains(err.Error(), field) {
		e.Errorf("the error does not name the field %s: %v", field, err)
	}
}

func outOfMemoryMain(e *Env) {
	if spec, ok := withMemoryLimit(e, e.spec("oom")); ok {
		res, out := e.run(spec)
		wantOutOfMemory(e, res, out)
		if res.Code != 137 {
			e.Errorf("the code is %d; want 137, what a process that was killed exits with", res.Code)
		}
	}
}

func outOfMemoryChild(e *Env) {
	if spec, ok := withMemoryLimit(e, e.spec("print", "ready", ";", "await", "/go", ";", "oom-child")); ok {
		id, _ := e.ready(spec)
		e.signal(id, "/go")
		res := e.wait(id)
		wantOutOfMemory(e, res, e.output(id))
		if res.Code != 1 {
			e.Errorf("the code is %d; want 1, what the main process exited with", res.Code)
		}
	}
}

func wantOutOfMemory(e *Env, res driver.Result, out output) {
	if res.Outcome != driver.OutOfMemory {
		e.Errorf("the result is %+v; want out of memory\n%s", res, out)
	}
}

// startFails runs the spec and wants it to end as StartFailed, with a reason that has the text.
func (e *Env) startFails(spec driver.TaskSpec, text string) {
	res, _ := e.run(spec)
	if res.Outcome != driver.StartFailed {
		e.Errorf("the result is %+v; want start failed", res)
	}
	if !strings.Contains(res.Reason, text) {
		e.Errorf("the reason is %q; want %q in it", res.Reason, text)
	}
	if !res.Started.IsZero() {
		e.Errorf("Started is %v; want zero for a process that never started", res.Started)
	}
}

func commandNotFound(e *Env) {
	spec := e.spec("x")
	spec.Container.Entrypoint = []string{"no-such-command"}
	e.startFails(spec, "no-such-command")
}

func notExecutable(e *Env) {
	spec := e.spec("x")
	spec.Container.Image = e.suite.usersImage
	spec.Container.Entrypoint = []string{"/not-executable"}
	e.startFails(spec, "/not-executable")
}

func removedOutside(e *Env) {
	for range 5 {
		spec := e.spec("ignore-term")
		id := e.create(spec)
		before := waiting(e.ctx, e.d, id)
		e.must("Start", e.d.Start(e.ctx, id))
		e.await(e.logs(e.d, id, driver.LogOptions{Follow: true}), "ready")
		e.must("Harness.RemoveOutside", e.suite.h.RemoveOutside(e.ctx, id))
		got := receive(e, "Wait after the removal", before)
		if errors.Is(got.err, errdefs.ErrNotFound) {
			continue // Wait was called, but had not yet begun: right, but not what is to be seen here
		}
		e.must("Wait", got.err)
		if got.res.Outcome != driver.Lost {
			e.Errorf("the result is %+v; want lost", got.res)
		}
		return
	}
	e.Errorf("Wait, called before Start, returned NotFound when the running task was removed, five times; want lost")
}

func waitBeforeStart(e *Env) {
	id := e.create(e.spec("exit", "3"))
	early := waiting(e.ctx, e.d, id)
	e.must("Start", e.d.Start(e.ctx, id))
	got := receive(e, "Wait that was called before Start", early)
	e.must("Wait", got.err)
	e.wantExit(got.res, 3)
}

// same compares results, and times by what they mean.
func same(a, b driver.Result) bool {
	equal := a.Started.Equal(b.Started) && a.Ended.Equal(b.Ended)
	a.Started, a.Ended, b.Started, b.Ended = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return equal && a == b
}

func waitAfterExit(e *Env) {
	id := e.start("exit", "4")
	first := e.wait(id)
	e.wantExit(first, 4)
	for range 3 {
		if again := e.wait(id); !same(first, again) {
			e.Errorf("Wait said %+v first and %+v later", first, again)
		}
	}
}

func waitThreeCallers(e *Env) {
	spec := e.spec("print", "ready", ";", "await", "/go", ";", "exit", "5")
	id, _ := e.ready(spec)
	var callers []<-chan waited
	for range 3 {
		callers = append(callers, waiting(e.ctx, e.d, id))
	}
	e.signal(id, "/go")
	var answers []driver.Result
	for _, c := range callers {
		got := receive(e, "Wait by three", c)
		e.must("Wait", got.err)
		e.wantExit(got.res, 5)
		answers = append(answers, got.res)
	}
	if !same(answers[0], answers[1]) || !same(answers[1], answers[2]) {
		e.Errorf("three callers got three answers: %+v", answers)
	}
}

func waitCancelled(e *Env) {
	id, _ := e.ready(e.spec("print", "ready", ";", "await", "/go", ";", "exit", "6"))
	cause := errors.New("the case's own reason")
	ctx, cancel := context.WithCancelCause(e.ctx)
	c := waiting(ctx, e.d, id)
	cancel(cause)
	if got := receive(e, "Wait that was cancelled", c); !errors.Is(got.err, cause) {
		e.Errorf("the cancelled Wait returned %+v, %v; want an error that matches the context's cause", got.res, got.err)
	}
	e.signal(id, "/go") // would fail if the task had ended with the Wait
	e.wantExit(e.wait(id), 6)
}

func waitRemoved(e *Env) {
	id := e.start("exit", "0")
	e.wait(id)
	e.must("Remove", e.d.Remove(e.ctx, id))
	_, err := e.d.Wait(e.ctx, id)
	e.wantError("Wait for a removed task", err, errdefs.ErrNotFound)
}

func times(e *Env) {
	id := e.start("print", "x")
	res := e.wait(id)
	if res.Started.IsZero() || res.Ended.IsZero() || res.Ended.Before(res.Started) {
		e.Errorf("started %v, ended %v; want both set and in order", res.Started, res.Ended)
	}
	if task := e.find(id); task.Created.IsZero() || res.Started.Before(task.Created.Truncate(time.Second)) {
		e.Errorf("created %v, started %v; want both set and in order", task.Created, res.Started)
	}
}

func holderResult(e *Env) {
	res, _ := e.run(e.spec("spawn-holder", ";", "exit", "7"))
	e.wantExit(res, 7)
}

func lineCutWhileWaiting(e *Env) {
	d, line := e.cuttable()
	id, _ := e.ready(e.spec("print", "ready", ";", "await", "/go", ";", "exit", "8"))
	c := waiting(e.ctx, d, id)
	line.Cut()
	e.signal(id, "/go")
	e.wantExit(e.wait(id), 8)
	line.Restore()
	got := receive(e, "Wait over a line that was cut and restored", c)
	if got.err != nil {
		e.wantError("Wait over a cut line", got.err, errdefs.ErrUnavailable)
		var err error
		got.res, err = d.Wait(e.ctx, id)
		e.must("Wait after the line was restored", err)
	}
	e.wantExit(got.res, 8)
}
