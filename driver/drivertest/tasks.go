package drivertest

import (
	"context"
	"errors"
	"time"

	"github.com/wharfci/wharf/driver"
)

// spec returns a task that runs the test program with these arguments.
func (e *Env) spec(args ...string) driver.TaskSpec {
	return driver.TaskSpec{Name: e.name(), Container: e.container(args...)}
}

func (e *Env) container(args ...string) driver.Container {
	return driver.Container{Image: e.suite.image, Pull: driver.PullNever, Args: args}
}

// create makes the task, or ends the case; the end of the case removes it.
func (e *Env) create(spec driver.TaskSpec) driver.TaskID {
	id, err := e.d.Create(e.ctx, spec)
	e.must("Create", err)
	e.removeLater(id)
	return id
}

func (e *Env) removeLater(id driver.TaskID) {
	e.defers(func(ctx context.Context) {
		if err := e.d.Remove(ctx, id); err != nil {
			e.Errorf("Remove %s: %v", id, err)
		}
	})
}

// start makes and starts a task that runs the test program with these arguments.
func (e *Env) start(args ...string) driver.TaskID {
	return e.startSpec(e.spec(args...))
}

func (e *Env) startSpec(spec driver.TaskSpec) driver.TaskID {
	id := e.create(spec)
	e.must("Start", e.d.Start(e.ctx, id))
	return id
}

// wait returns how the task ended, or ends the case.
func (e *Env) wait(id driver.TaskID) driver.Result {
	res, err := e.d.Wait(e.ctx, id)
	e.must("Wait", err)
	return res
}

// run makes and starts a task, waits for its end, and returns how it ended and what it printed.
func (e *Env) run(spec driver.TaskSpec) (driver.Result, output) {
	id := e.startSpec(spec)
	res := e.wait(id)
	return res, e.output(id)
}

// succeed runs the test program with these arguments, and ends the case unless it exits with 0.
func (e *Env) succeed(spec driver.TaskSpec) output {
	res, out := e.run(spec)
	if !res.Succeeded() {
		e.Fatalf("the task %q %v\n%s", spec.Container.Args, res, out)
	}
	return out
}

// wantExit fails the case unless the result is an exit with that code.
func (e *Env) wantExit(res driver.Result, code int) {
	if res.Outcome != driver.Exited || res.Code != code {
		e.Errorf("the result is %+v; want exited with code %d", res, code)
	}
}

// wantError fails the case unless err is of type *driver.Error and of the class.
func (e *Env) wantError(what string, err, class error) {
	var typed *driver.Error
	switch {
	case err == nil:
		e.Errorf("%s: no error; want one that matches %q", what, class)
	case !errors.Is(err, class):
		e.Errorf("%s: %v (%T); want an error that matches %q", what, err, err, class)
	case !errors.As(err, &typed):
		e.Errorf("%s: %v is of type %T; want a *driver.Error in it", what, err, err)
	}
}

// limit is a time bound of a case, made longer on slow machines.
func (e *Env) limit(d time.Duration) time.Duration {
	return time.Duration(float64(d) * e.suite.h.Slow)
}

// waiting calls Wait in a goroutine.
func waiting(ctx context.Context, d driver.Driver, id driver.TaskID) <-chan waited {
	c := make(chan waited, 1)
	go func() {
		res, err := d.Wait(ctx, id)
		c <- waited{res, err}
	}()
	return c
}

type waited struct {
	res driver.Result
	err error
}

// receive takes a value from c, or ends the case when its time is over.
func receive[T any](e *Env, what string, c <-chan T) T {
	select {
	case v := <-c:
		return v
	case <-e.ctx.Done():
		e.Fatalf("%s: %v", what, context.Cause(e.ctx))
		panic("not reached")
	}
}

func contextWithCause(e *Env) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(e.ctx)
	e.defers(func(context.Context) { cancel(nil) })
	return ctx, cancel
}
