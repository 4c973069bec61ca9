package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

func lifecycle() []Case {
	const (
		removes = "Remove is idempotent: repeated, concurrent, of a task that was never started or never existed, it returns nil. A task that runs is killed."
		stops   = "Stop sends TERM to the main process, waits opts.Grace, and sends KILL. It returns when the task has ended."
		noop    = "Stop of a task that has ended, or that was never started, returns nil (the latter has then ended, as Stopped)."
		another = "Every method works on what another process created."
		labels  = "List returns the owner's tasks that opts selects: labels must all be there with exactly these values."
		nothing = "A failed or cancelled Create leaves nothing behind."
	)
	return group("lifecycle", slices.Concat([]Case{
		{ID: "name-in-use", Contract: "Create: AlreadyExists if the owner has a task of that name (running or not).", Run: nameInUse},
		{ID: "name-at-once", Contract: "Create: who is told AlreadyExists finds the task of that name in List, also if another call is just making it.", Run: nameAtOnce},
		{ID: "name-again", Contract: "A handle names one task for ever: when a task is removed and its name is used again, the new task has another id.", Run: nameAgain},
		{ID: "start-twice", Contract: "Start of a task that was started before returns nil and does nothing; no container runs twice.", Run: startTwice},
		{ID: "start-unknown", Contract: "Start, Stop: NotFound for an unknown task.", Run: startUnknown},
		{ID: "remove-twice", Contract: removes, Run: removeTwice},
		{ID: "remove-concurrently", Contract: removes, Run: removeConcurrently},
		{ID: "remove-never-started", Contract: removes, Run: removeNeverStarted},
		{ID: "remove-running", Contract: removes, Run: removeRunning},
		{ID: "stop-obeyed", Contract: stops, Run: stopObeyed},
		{ID: "stop-ignored", Contract: stops, Run: stopIgnored},
		{ID: "stop-at-once", Contract: "Grace zero kills at once.", Run: stopAtOnce},
		{ID: "stop-ended", Contract: noop, Run: stopEnded},
		{ID: "stop-never-started", Contract: noop, Run: stopNeverStarted},
		{ID: "stop-output", Contract: "Output during the grace time is kept.", Run: stopOutput},
		{ID: "second-value", Contract: another, Run: secondValue},
		{ID: "start-in-making", Contract: "Until Create returns, others may see the task, as StateUnknown, and Start refuses it with FailedPrecondition.", Run: startInMaking},
		{ID: "second-process", Contract: another, Run: secondProcess},
		{ID: "ended-unobserved", Contract: another, Run: endedUnobserved},
		{ID: "labels", Contract: labels, Run: labelsExact},
		{ID: "labels-long", Contract: "Labels are stored with the task: values are UTF-8 without control characters, of at most 200 bytes.", Run: labelsLong},
		{ID: "list-order", Contract: "List returns tasks in order of creation, oldest first.", Run: listOrder},
		{ID: "list-states", Contract: "State is where a task stands in its life: created, starting, running, ended.", Run: listStates},
		{ID: "owners", Contract: "A driver sees tasks of its own owner only, and names are unique within it.", Run: owners},
		{ID: "close", Contract: "Close ends the driver's connections: calls under way return with Unavailable or Canceled; tasks stay as they are. A second Close returns nil.", Run: closeDriver},
		{ID: "line-cut", Contract: "Unavailable when the runtime does not answer.", Run: lineCut},
		{ID: "ten-at-once", Contract: "Every method may be called by many goroutines at once.", Run: tenAtOnce},
	}, creates(nothing))...)
}

func nameInUse(e *Env) {
	spec := e.spec("exit", "0")
	other := e.open(e.owner)
	taken := func(when string) {
		for _, d := range []driver.Driver{e.d, other} {
			id, err := d.Create(e.ctx, spec)
			if err == nil {
				e.removeLater(id)
			}
			e.wantError("Create with the name of a task that "+when, err, errdefs.ErrAlreadyExists)
		}
	}
	id := e.create(spec)
	taken("was not started")
	e.must("Start", e.d.Start(e.ctx, id))
	e.wait(id)
	taken("has ended")
}

// nameAtOnce has several driver values make a task of one name: one does, and the others see what that one makes, as one must that goes on in the place of
// a process that died.
func nameAtOnce(e *Env) {
	for i := range 4 {
		spec := e.spec("exit", "0")
		if i%2 == 1 && e.caps.Init {
			spec.Init = []driver.Container{e.named("before", "exit", "0")}
		}
		var wg sync.WaitGroup
		var made atomic.Int32
		begin := make(chan struct{})
		for range 4 {
			d := e.open(e.owner)
			wg.Go(func() {
				<-begin
				id, err := d.Create(e.ctx, spec)
				if err == nil {
					made.Add(1)
					e.removeLater(id)
					return
				}
				e.wantError("Create of one name by several", err, errdefs.ErrAlreadyExists)
				tasks, err := d.List(e.ctx, driver.ListOptions{Labels: spec.Labels})
				if err != nil || !slices.ContainsFunc(tasks, func(t driver.Task) bool { return t.Name == spec.Name }) {
					e.Errorf("List after AlreadyExists: %+v, %v; want a task named %s", tasks, err, spec.Name)
				}
			})
		}
		close(begin)
		wg.Wait()
		if n := made.Load(); n != 1 {
			e.Errorf("%d of 4 made the task, want 1", n)
		}
	}
}

func nameAgain(e *Env) {
	spec := e.spec("exit", "0")
	first := e.create(spec)
	e.must("Remove", e.d.Remove(e.ctx, first))
	second := e.create(spec)
	if first == second {
		e.Errorf("the new task has the handle of the removed one, %q", first)
	}
	e.must("Remove the old handle", e.d.Remove(e.ctx, first))
	e.find(second)
	if len(second) > 256 || strings.ContainsFunc(string(second), func(r rune) bool { return r < ' ' || r > '~' }) {
		e.Errorf("the handle %q is not printable ASCII of at most 256 bytes", second)
	}
}

func startTwice(e *Env) {
	id := e.create(e.spec("print", "once"))
	started := make(chan error, 3)
	for range cap(started) {
		go func() { started <- e.d.Start(e.ctx, id) }()
	}
	for range cap(started) {
		e.must("Start by three", receive(e, "Start", started))
	}
	first := e.wait(id)
	e.must("Start after the end", e.d.Start(e.ctx, id))
	if again := e.wait(id); !same(first, again) {
		e.Errorf("Wait said %+v, and after another Start %+v", first, again)
	}
	if lines := e.output(id).stdout(); len(lines) != 1 {
		e.Errorf("the container printed %d lines; want one: it runs once", len(lines))
	}
}

func startUnknown(e *Env) {
	id := e.create(e.spec("exit", "0"))
	e.must("Remove", e.d.Remove(e.ctx, id))
	e.wantError("Start of a removed task", e.d.Start(e.ctx, id), errdefs.ErrNotFound)
	e.wantError("Stop of a removed task", e.d.Stop(e.ctx, id, driver.StopOptions{}), errdefs.ErrNotFound)
}

// gone fails the case if anything of its owner is left.
func (e *Env) gone(what string) {
	before := len(e.report.Failures)
	if e.left(e.ctx, e.owner); len(e.report.Failures) > before {
		e.Errorf("… after %s", what)
	}
}

func removeTwice(e *Env) {
	id := e.start("exit", "0")
	e.wait(id)
	for range 2 {
		e.must("Remove", e.d.Remove(e.ctx, id))
		e.gone("Remove")
	}
	e.must("Remove of what never existed", e.d.Remove(e.ctx, "no-such-task"))
}

func removeConcurrently(e *Env) {
	id, _ := e.ready(e.spec("ignore-term"))
	removed := make(chan error, 5)
	other := e.open(e.owner)
	for i := range cap(removed) {
		d := e.d
		if i%2 == 1 {
			d = other
		}
		go func() { removed <- d.Remove(e.ctx, id) }()
	}
	for range cap(removed) {
		e.must("Remove by five", receive(e, "Remove", removed))
	}
	e.gone("Remove by five")
}

func removeNeverStarted(e *Env) {
	id := e.create(e.spec("exit", "0"))
	e.must("Remove", e.d.Remove(e.ctx, id))
	e.gone("Remove of a task that was never started")
}

func removeRunning(e *Env) {
	id, _ := e.ready(e.spec("ignore-term"))
	began := time.Now()
	e.must("Remove", e.d.Remove(e.ctx, id))
	if took := time.Since(began); took > e.suite.h.StopMargin {
		e.Errorf("Remove of a running task took %s; it is to be killed without grace", took)
	}
	e.gone("Remove of a running task")
}

// stop stops the task and returns how long that took.
func (e *Env) stop(id driver.TaskID, grace time.Duration) time.Duration {
	began := time.Now()
	e.must("Stop", e.d.Stop(e.ctx, id, driver.StopOptions{Grace: grace}))
	took := time.Since(began)
	if task := e.find(id); task.State != driver.StateEnded {
		e.Errorf("after Stop the task is %s; want ended", task.State)
	}
	return took
}

func stopObeyed(e *Env) {
	id, _ := e.ready(e.spec("trap-term", "7"))
	if took := e.stop(id, time.Minute); took > e.suite.h.StopMargin {
		e.Errorf("Stop took %s though the process obeyed at once", took)
	}
	e.wantExit(e.wait(id), 7)
}

func stopIgnored(e *Env) {
	const grace = 2 * time.Second
	id, r := e.ready(e.spec("ignore-term"))
	if took := e.stop(id, grace); took < grace || took > grace+e.suite.h.StopMargin {
		e.Errorf("Stop took %s; want the grace time of %s, and at most %s more", took, grace, e.suite.h.StopMargin)
	}
	wantSignal(e, e.wait(id), 9)
	e.await(r, "ignored TERM")
}

func stopAtOnce(e *Env) {
	id, _ := e.ready(e.spec("ignore-term"))
	if took := e.stop(id, 0); took > e.suite.h.StopMargin {
		e.Errorf("Stop without grace took %s", took)
	}
	wantSignal(e, e.wait(id), 9)
}

func stopEnded(e *Env) {
	id := e.start("exit", "3")
	e.wait(id)
	e.stop(id, time.Minute)
	e.wantExit(e.wait(id), 3)
}

func stopNeverStarted(e *Env) {
	id := e.create(e.spec("print", "never"))
	early := waiting(e.ctx, e.d, id)
	e.stop(id, time.Minute)
	got := receive(e, "Wait for a task that was stopped before its start", early)
	e.must("Wait", got.err)
	for _, d := range []driver.Driver{e.d, e.open(e.owner)} {
		res, err := d.Wait(e.ctx, id)
		e.must("Wait", err)
		if res.Outcome != driver.Stopped || got.res.Outcome != driver.Stopped {
			e.Errorf("the results are %+v, %+v; want stopped", got.res, res)
		}
	}
}

func stopOutput(e *Env) {
	id, r := e.ready(e.spec("trap-term", "0", "5000"))
	e.stop(id, time.Minute)
	e.await(r, "got TERM")
	e.must("read what was printed after TERM", wantNumbered(r, 0, 5000, 20))
}

func secondValue(e *Env) {
	id, _ := e.ready(e.spec("trap-term", "4"))
	d := e.open(e.owner)
	tasks, err := d.List(e.ctx, driver.ListOptions{})
	e.must("List", err)
	if len(tasks) != 1 || tasks[0].ID != id || tasks[0].State != driver.StateRunning {
		e.Fatalf("another value lists %+v; want the running task %s", tasks, id)
	}
	c := waiting(e.ctx, d, id)
	r := e.logs(d, id, driver.LogOptions{Follow: true})
	e.await(r, "ready")
	e.must("Start of a running task", d.Start(e.ctx, id))
	e.must("Stop", d.Stop(e.ctx, id, driver.StopOptions{Grace: time.Minute}))
	e.await(r, "got TERM")
	got := receive(e, "Wait", c)
	e.must("Wait", got.err)
	e.wantExit(got.res, 4)
	e.must("Remove", d.Remove(e.ctx, id))
	e.gone("Remove by another value")
}

func endedUnobserved(e *Env) {
	d, err := e.suite.h.Open(e.ctx, e.owner)
	e.must("Open", err)
	id, err := d.Create(e.ctx, e.spec("print", "alone", ";", "exit", "9"))
	e.must("Create", err)
	e.removeLater(id)
	e.must("Start", d.Start(e.ctx, id))
	e.must("Close", d.Close())
	e.wantExit(e.wait(id), 9)
	if lines := e.output(id).stdout(); !slices.Equal(lines, []string{"alone"}) {
		e.Errorf("the output is %q; want the line that was printed when nobody looked", lines)
	}
}

// listed returns the names of the tasks that have the labels, sorted.
func (e *Env) listed(labels map[string]string) []string {
	tasks, err := e.d.List(e.ctx, driver.ListOptions{Labels: labels})
	e.must("List", err)
	var names []string
	for _, task := range tasks {
		names = append(names, task.Name)
	}
	slices.Sort(names)
	return names
}

func labelsExact(e *Env) {
	one, two := e.spec("exit", "0"), e.spec("exit", "0")
	one.Labels = map[string]string{"app": "x", "step": "1"}
	two.Labels = map[string]string{"app": "x", "step": "12", "empty": ""}
	e.create(one)
	e.create(two)
	for _, c := range []struct {
		labels map[string]string
		want   []string
	}{
		{nil, []string{one.Name, two.Name}},
		{map[string]string{"app": "x"}, []string{one.Name, two.Name}},
		{map[string]string{"step": "1"}, []string{one.Name}},
		{map[string]string{"app": "x", "step": "12"}, []string{two.Name}},
		{map[string]string{"empty": ""}, []string{two.Name}},
		{map[string]string{"app": "X"}, nil},
		{map[string]string{"ap": "x"}, nil},
		{map[string]string{"app": ""}, nil},
	} {
		if got := e.listed(c.labels); !slices.Equal(got, c.want) {
			e.Errorf("List with labels %v has %q; want %q", c.labels, got, c.want)
		}
	}
}

func labelsLong(e *Env) {
	spec := e.spec("exit", "0")
	spec.Labels = map[string]string{
		"example.com/a_long.one":  strings.Repeat("v", 200),
		"words":                   `branch "größe", 100 % = yes; (a/b) $HOME ☃`,
		strings.Repeat("k", 63):   " spaces around ",
		"Upper-Case.And_More/key": "1",
	}
	id := e.create(spec)
	got := e.find(id).Labels
	for k, v := range spec.Labels {
		if got[k] != v {
			e.Errorf("label %q is %q; want %q", k, got[k], v)
		}
		if names := e.listed(map[string]string{k: v}); !slices.Equal(names, []string{spec.Name}) {
			e.Errorf("List by label %q = %q has %q; want %q", k, v, names, spec.Name)
		}
	}
	if len(got) != len(spec.Labels) {
		e.Errorf("the task has the labels %q; want %q and no more", got, spec.Labels)
	}
}

func listOrder(e *Env) {
	var want, got []driver.TaskID
	for range 4 {
		want = append(want, e.create(e.spec("exit", "0")))
	}
	tasks, err := e.d.List(e.ctx, driver.ListOptions{})
	e.must("List", err)
	for _, task := range tasks {
		got = append(got, task.ID)
	}
	if !slices.Equal(got, want) {
		e.Errorf("List has %q; want %q", got, want)
	}
}

func listStates(e *Env) {
	spec := e.spec("trap-term", "0")
	id := e.create(spec)
	want := func(s driver.State) {
		if task := e.find(id); task.State != s || task.Name != spec.Name {
			e.Errorf("List has the task %q as %s; want %q, %s", task.Name, task.State, spec.Name, s)
		}
	}
	want(driver.StateCreated)
	e.must("Start", e.d.Start(e.ctx, id))
	e.await(e.logs(e.d, id, driver.LogOptions{Follow: true}), "ready")
	want(driver.StateRunning)
	e.must("Stop", e.d.Stop(e.ctx, id, driver.StopOptions{Grace: time.Minute}))
	want(driver.StateEnded)
}

func owners(e *Env) {
	spec := e.spec("exit", "0")
	id := e.create(spec)
	stranger := e.open(e.newOwner())
	tasks, err := stranger.List(e.ctx, driver.ListOptions{})
	e.must("List", err)
	if len(tasks) > 0 {
		e.Errorf("another owner lists %+v; want nothing", tasks)
	}
	_, err = stranger.Wait(e.ctx, id)
	e.wantError("Wait by another owner", err, errdefs.ErrNotFound)
	e.wantError("Start by another owner", stranger.Start(e.ctx, id), errdefs.ErrNotFound)
	e.must("Remove by another owner", stranger.Remove(e.ctx, id))
	e.find(id)
	same, err := stranger.Create(e.ctx, spec)
	e.must("Create with the name that another owner's task has", err)
	e.defers(func(ctx context.Context) {
		if err := stranger.Remove(ctx, same); err != nil {
			e.Errorf("Remove: %v", err)
		}
	})
}

func closeDriver(e *Env) {
	d, err := e.suite.h.Open(e.ctx, e.owner)
	e.must("Open", err)
	id, _ := e.ready(e.spec("trap-term", "0"))
	c := waiting(e.ctx, d, id)
	began := time.Now()
	e.must("Close", d.Close())
	if took := time.Since(began); took > 5*time.Second {
		e.Errorf("Close took %s; want at most five seconds", took)
	}
	refused := func(what string, err error) {
		if !errors.Is(err, errdefs.ErrUnavailable) && !errors.Is(err, context.Canceled) {
			e.Errorf("%s: %v; want Unavailable or Canceled", what, err)
		}
	}
	refused("Wait under way when the driver was closed", receive(e, "Wait", c).err)
	_, err = d.List(e.ctx, driver.ListOptions{})
	refused("List after Close", err)
	e.must("second Close", d.Close())
	if task := e.find(id); task.State != driver.StateRunning {
		e.Errorf("the task is %s after Close; want running", task.State)
	}
}

func lineCut(e *Env) {
	d, line := e.cuttable()
	_, err := d.List(e.ctx, driver.ListOptions{})
	e.must("List", err)
	if e.suite.h.OpenCuttable == nil {
		return
	}
	line.Cut()
	_, err = d.List(e.ctx, driver.ListOptions{})
	e.wantError("List over a cut line", err, errdefs.ErrUnavailable)
	_, err = d.Create(e.ctx, e.spec("exit", "0"))
	e.wantError("Create over a cut line", err, errdefs.ErrUnavailable)
	line.Restore()
	_, err = d.List(e.ctx, driver.ListOptions{})
	e.must("List when the line is mended", err)
}

func tenAtOnce(e *Env) {
	var wg sync.WaitGroup
	for i := range 10 {
		spec := e.spec("print", "hello", ";", "exit", string(rune('0'+i)))
		wg.Go(func() {
			id, err := e.d.Create(e.ctx, spec)
			if err != nil {
				e.Errorf("Create: %v", err)
				return
			}
			e.removeLater(id)
			if err := e.d.Start(e.ctx, id); err != nil {
				e.Errorf("Start: %v", err)
			}
			res, err := e.d.Wait(e.ctx, id)
			if err != nil || res.Outcome != driver.Exited || res.Code != i {
				e.Errorf("Wait: %+v, %v; want exited with code %d", res, err, i)
			}
		})
	}
	wg.Wait()
}

// startInMaking has another driver value start a task as soon as it sees it: it must be whole by then.
func startInMaking(e *Env) {
	spec := e.spec("cat", "/run/secrets/one", "/v/left")
	if !e.caps.Init || !e.caps.Secrets || !e.caps.Events {
		return // nothing of such a task could be missing, or nobody would see it in time
	}
	mounts := []driver.Mount{{Volume: e.volume(), Path: "/v"}}
	spec.Container.Mounts = mounts
	spec.Init = []driver.Container{e.named("before", "put", "/v/left", "left")}
	spec.Init[0].Mounts = mounts
	spec.Secrets = []driver.Secret{{Name: "one", Path: "/run/secrets/one", Value: []byte("secret")}}
	spec.Services = nil
	other := e.open(e.owner)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() {
		started <- driver.Events(ctx, other, driver.ListOptions{Labels: spec.Labels}, func(ev driver.Event) error {
			if ev.Removed || ev.State > driver.StateCreated {
				return nil
			}
			err := other.Start(ctx, ev.Task)
			if ev.State == driver.StateUnknown && errdefs.IsFailedPrecondition(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("start the task, which is %s: %w", ev.State, err)
			}
			return errStarted
		})
	}()
	id := e.create(spec)
	err := receive(e, "the start by the other driver value", started)
	if !errors.Is(err, errStarted) {
		e.Fatalf("the other driver value, which was to start the task when it sees it: %v", err)
	}
	e.wantExit(e.wait(id), 0)
	if lines := e.output(id).of(driver.MainContainer, driver.Stdout); !slices.Equal(lines, []string{`"secret"`, `"left"`}) {
		e.Errorf("the task, which another driver value started as soon as it saw it, reads %q; want its secret and what its init container has left", lines)
	}
}

var errStarted = errors.New("started")
