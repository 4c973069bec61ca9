package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

func load() []Case {
	const (
		many  = "Every method may be called by many goroutines at once."
		calls = "A driver waits for events and does not ask again and again: a task costs the runtime a bounded number of calls, and no more when it runs longer with nothing to say. "
	)
	return group("load",
		Case{ID: "fifty-at-once", Contract: many + " " + calls + "Fifty at once cost as much each.", Run: fiftyAtOnce, Timeout: 5 * time.Minute},
		Case{ID: "calls-of-one", Contract: calls, Run: callsOfOne},
		Case{ID: "silent", Contract: calls, Run: silentCosts},
		Case{ID: "idle", Contract: calls + "A driver value with nothing to do makes none.", Run: idleCosts},
	)
}

// life takes a task through its whole life, with the log followed from before the start, and returns how it
// ended and what it printed.
func life(ctx context.Context, d driver.Driver, spec driver.TaskSpec) (res driver.Result, out output, err error) {
	id, err := d.Create(ctx, spec)
	if err != nil {
		return res, nil, err
	}
	defer func() { err = errors.Join(err, d.Remove(context.WithoutCancel(ctx), id)) }()
	r, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		return res, nil, err
	}
	defer r.Close()
	if err := d.Start(ctx, id); err != nil {
		return res, nil, err
	}
	if out, err = readAll(r); err != nil {
		return res, out, fmt.Errorf("read the log: %w", err)
	}
	res, err = d.Wait(ctx, id)
	return res, out, err
}

// fifty runs fifty tasks at once, each with something of its own to say.
func fifty(e *Env, d driver.Driver) {
	const tasks = 50
	var wg sync.WaitGroup
	for i := range tasks {
		text := fmt.Sprintf("I am number %d", i)
		spec := e.spec("print", text, ";", "eprint", text, ";", "exit", fmt.Sprint(i))
		wg.Go(func() {
			res, out, err := life(e.ctx, d, spec)
			if err != nil {
				e.Errorf("task %d of %d: %v", i, tasks, err)
				return
			}
			e.wantExit(res, i)
			if !slices.Equal(out.stdout(), []string{text}) || !slices.Equal(out.stderr(), []string{text}) || len(out) != 2 {
				e.Errorf("task %d of %d printed\n%s", i, tasks, out)
			}
		})
	}
	wg.Wait()
}

// counted returns a driver value and a function that tells how many calls of the runtime it has made since that
// function was called last.
func (e *Env) counted() (driver.Driver, func() int) {
	if e.suite.h.OpenCounted == nil {
		return e.d, func() int { return 0 }
	}
	d, total, err := e.suite.h.OpenCounted(e.ctx, e.owner)
	e.must("open a driver whose calls are counted", err)
	e.closeLater(d)
	before := 0
	return d, func() int {
		now := total()
		n := now - before
		before = now
		return n
	}
}

// warm runs a task that lets the driver value make what serves all tasks.
func (e *Env) warm(d driver.Driver, calls func() int) {
	_, _, err := life(e.ctx, d, e.spec("exit", "0"))
	e.must("a first task", err)
	calls()
}

func callsOfOne(e *Env) {
	d, calls := e.counted()
	e.warm(d, calls)
	_, _, err := life(e.ctx, d, e.spec("print", "hello", ";", "exit", "0"))
	e.must("a task", err)
	n := calls()
	e.Notef("a task costs %d calls", n)
	if most := e.suite.h.CallsPerTask; n > most {
		e.Errorf("a task costs %d calls of the runtime; want at most %d", n, most)
	}
}

// fiftyAtOnce also counts the calls.
func fiftyAtOnce(e *Env) {
	d, calls := e.counted()
	e.warm(d, calls)
	fifty(e, d)
	n := calls()
	e.Notef("fifty tasks cost %d calls", n)
	if most := 50 * e.suite.h.CallsPerTask; n > most {
		e.Errorf("fifty tasks cost %d calls of the runtime; want at most %d", n, most)
	}
}

func silentCosts(e *Env) {
	d, calls := e.counted()
	e.warm(d, calls)
	cost := map[string]int{}
	for _, seconds := range []string{"1", "10"} {
		spec := e.spec("print", "ready", ";", "linger", seconds, ";", "exit", "0")
		id, err := d.Create(e.ctx, spec)
		e.must("Create", err)
		e.removeLater(id)
		ended := waiting(e.ctx, d, id)
		r := e.logs(d, id, driver.LogOptions{Follow: true}) // before the start: a log that is read later costs other calls
		e.must("Start", d.Start(e.ctx, id))
		out, err := readAll(r)
		if !slices.Equal(out.stdout(), []string{"ready"}) || err != nil {
			e.Errorf("the log: %v\n%s", err, out)
		}
		got := receive(e, "Wait", ended)
		e.must("Wait", got.err)
		e.wantExit(got.res, 0)
		cost[seconds] = calls()
	}
	e.Notef("calls by seconds that the task runs: %v", cost)
	if cost["10"] > cost["1"]+4 { // who comes first at the end is not the same each time; nine seconds of asking again are more
		e.Errorf("a silent task costs %d calls in ten seconds and %d in one; want the same", cost["10"], cost["1"])
	}
}

// idleCosts lets time pass by a task that another driver value looks after.
func idleCosts(e *Env) {
	d, calls := e.counted()
	e.warm(d, calls)
	e.succeed(e.spec("linger", "5"))
	if n := calls(); n > 1 && d != e.d { // one that the end of the first task set going may come late
		e.Errorf("a driver value with nothing to do made %d calls in five seconds", n)
	}
	if _, err := d.List(e.ctx, driver.ListOptions{}); err != nil {
		e.Errorf("List of a driver value that was idle: %v", err)
	}
}
