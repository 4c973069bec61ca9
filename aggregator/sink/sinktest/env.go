package sinktest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

// Env is what a case works with. Its methods may be called by many goroutines, but those that end the case (Fatalf and all that say so) only by the one that runs it.
type Env struct {
	suite *suite
	ctx   context.Context
	sink  sink.Sink

	mu      sync.Mutex
	cleanup []func()
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

// must ends the case if err is not nil.
func (e *Env) must(what string, err error) {
	if err != nil {
		e.Fatalf("%s: %v", what, err)
	}
}

// fails wants an error.
func (e *Env) fails(what string, err error) {
	if err == nil {
		e.Errorf("%s returns nil; want an error", what)
	}
}

// defers registers what the end of the case calls, last first.
func (e *Env) defers(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanup = append(e.cleanup, f)
}

func (e *Env) end() {
	for i := len(e.cleanup) - 1; i >= 0; i-- {
		func() {
			defer e.recovered()
			e.cleanup[i]()
		}()
	}
}

// another returns a sink of the same store. It ends the case if there is none.
func (e *Env) another() sink.Sink {
	s, err := e.suite.cfg.Open()
	e.must("Config.Open", err)
	e.defers(func() { _ = s.Close() })
	return s
}

// build makes a build.
func (e *Env) build() uint64 {
	id := e.suite.build.Add(1)
	e.suite.cfg.Add(id)
	return id
}

// unknown returns the ID of a build that there is not.
func (e *Env) unknown() uint64 { return e.suite.build.Add(1) }

// open opens a build, for somebody whose turn goes on.
func (e *Env) open(id uint64, clean bool) sink.Report {
	return e.openTurn(id, sink.Turn{Fence: newTurn().fence, Clean: clean})
}

func (e *Env) openTurn(id uint64, turn sink.Turn) sink.Report { return e.openAt(e.sink, id, turn) }

// openAnother opens a build at another sink of the same store.
func (e *Env) openAnother(id uint64, clean bool) sink.Report {
	return e.openAt(e.another(), id, sink.Turn{Fence: newTurn().fence, Clean: clean})
}

func (e *Env) openAt(s sink.Sink, id uint64, turn sink.Turn) sink.Report {
	r := s.Open(id, turn)
	e.defers(func() { _ = r.Close() })
	return r
}

// read returns what is stored. It ends the case if that cannot be read.
func (e *Env) read(id uint64) Build {
	b, err := e.suite.cfg.Read(id)
	e.must("Config.Read", err)
	return b
}

// turn is somebody's turn, until it is ended.
type turn struct{ over atomic.Bool }

func newTurn() *turn { return new(turn) }

func (t *turn) fence() time.Time {
	if t.over.Load() {
		return time.Time{}
	}
	return time.Now().Add(time.Minute)
}

func (t *turn) end() { t.over.Store(true) }

// promptly is how long a call may take that is to end with its context.
const promptly = 5 * time.Second

// endsWith makes a call with a context that ends after some time, and wants the call to end with it.
func (e *Env) endsWith(what string, after time.Duration, call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(e.ctx, after)
	defer cancel()
	if after == 0 {
		cancel()
	}
	done := make(chan error, 1)
	go func() {
		defer e.recovered()
		done <- call(ctx)
	}()
	limit := time.NewTimer(after + time.Duration(float64(promptly)*e.suite.cfg.Slow))
	defer limit.Stop()
	select {
	case err := <-done:
		if err == nil {
			e.Errorf("%s: nil, with a context that has ended", what)
		} else if !errors.Is(err, ctx.Err()) {
			e.Errorf("%s: %v; want an error that matches the context's", what, err)
		}
	case <-limit.C:
		e.Errorf("%s goes on when its context has ended", what)
	}
}
