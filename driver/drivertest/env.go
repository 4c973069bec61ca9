package drivertest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Env is what a case works with: a driver value of its own owner, names, and helpers that
// clear up behind the case. Its methods may be called by many goroutines, but those that end the case (Fatalf and
// all that say so) only by the one that runs it.
type Env struct {
	suite   *suite
	ctx     context.Context
	owner   string
	d       driver.Driver
	caps    driver.Capabilities
	mu      sync.Mutex
	names   int
	images  []string // to be removed
	cleanup []func(context.Context)
	report  Report
}

// Errorf records a failure and goes on.
func (e *Env) Errorf(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.report.Failures = append(e.report.Failures, fmt.Sprintf(format, args...))
}

// Fatalf records a failure and ends the case.
func (e *Env) Fatalf(format string, args ...any) {
	e.Errorf(format, args...)
	runtime.Goexit()
}

// Notef records what is worth telling though nothing is wrong.
func (e *Env) Notef(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.report.Notes = append(e.report.Notes, fmt.Sprintf(format, args...))
}

// must ends the case if err is not nil.
func (e *Env) must(what string, err error) {
	if err != nil {
		e.Fatalf("%s: %v", what, err)
	}
}

// defers registers what the end of the case calls, last first.
func (e *Env) defers(f func(context.Context)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanup = append(e.cleanup, f)
}

// name returns a name that nobody has used.
func (e *Env) name() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.names++
	return fmt.Sprintf("t%d-%s", e.names, e.owner)
}

func (e *Env) begin() {
	e.defers(e.removeImages)
	e.owner = e.newOwner()
	if e.suite.faults == nil {
		e.d = e.open(e.owner)
	} else {
		e.d = e.faulty()
	}
	caps, err := e.d.Capabilities(e.ctx)
	e.must("Capabilities", err)
	e.caps = caps
}

// newOwner returns an owner whose leavings are looked for at the end.
func (e *Env) newOwner() string {
	s := e.suite
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := fmt.Sprintf("dt-%s-%d", s.id, len(s.owners)+1)
	s.owners = append(s.owners, owner)
	e.defers(func(ctx context.Context) { e.left(ctx, owner) })
	return owner
}

// open returns another driver value, which the end of the case closes.
func (e *Env) open(owner string) driver.Driver {
	d, err := e.suite.h.Open(e.ctx, owner)
	if err != nil {
		e.Fatalf("%v: %v", errNotRunnable, err)
	}
	e.closeLater(d)
	return d
}

func (e *Env) closeLater(d driver.Driver) {
	e.defers(func(context.Context) { e.closed(d) })
}

func (e *Env) closed(d driver.Driver) {
	if err := d.Close(); err != nil {
		e.Errorf("Close: %v", err)
	}
}

// cuttable returns a driver value whose connection can be cut.
func (e *Env) cuttable() (driver.Driver, Line) {
	if e.suite.h.OpenCuttable == nil {
		return e.open(e.owner), Line{Cut: func() {}, Restore: func() {}}
	}
	d, line, err := e.suite.h.OpenCuttable(e.ctx, e.owner)
	e.must("open a driver through a line that can be cut", err)
	e.defers(func(context.Context) {
		line.Restore()
		e.closed(d)
	})
	return d, line
}

// left fails the case if the runtime still has something of the owner.
func (e *Env) left(ctx context.Context, owner string) {
	left, err := e.suite.h.Left(ctx, owner)
	if err != nil {
		e.Errorf("Harness.Left: %v", err)
	}
	if len(left) > 0 {
		slices.Sort(left)
		e.Errorf("left on the runtime: %s", strings.Join(left, ", "))
	}
}

// end calls what was deferred, under a time limit of its own.
func (e *Env) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), time.Duration(e.suite.h.Slow*float64(time.Minute)))
	defer cancel()
	for i := len(e.cleanup) - 1; i >= 0; i-- {
		func() {
			defer e.recovered()
			e.cleanup[i](ctx)
		}()
	}
}
