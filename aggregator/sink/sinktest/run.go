package sinktest

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// Run runs every case as a subtest of t, most of them in parallel.
func Run(t *testing.T, c Config) {
	s, err := newSuite(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, alone := range []bool{true, false} {
		for _, c := range Cases() {
			if c.Alone != alone {
				continue
			}
			t.Run(c.ID, func(t *testing.T) {
				if !alone {
					t.Parallel()
				}
				if r := s.run(t.Context(), c); !r.Passed() {
					t.Error(r)
				}
			})
		}
	}
}

// suite is one run of the cases.
type suite struct {
	cfg   Config
	build atomic.Uint64 // the last that was made
}

func newSuite(c Config) (*suite, error) {
	err := c.complete()
	return &suite{cfg: c}, err
}

// caseLimit is how long a case may take: for one that hangs.
const caseLimit = 2 * time.Minute

// run runs a case with a sink of its own.
func (s *suite) run(ctx context.Context, c Case) Report {
	limit := time.Duration(float64(caseLimit) * s.cfg.Slow)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the case's time limit of %s is over", limit))
	defer cancel()
	e := &Env{suite: s, ctx: ctx, report: Report{ID: c.ID, Contract: c.Contract}}
	done := make(chan struct{})
	go func() { // of its own, so that Fatalf can end it
		defer close(done)
		defer e.end()
		defer e.recovered()
		e.sink = e.another()
		c.Run(e)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // calls that heed it have a little time to end
		t := time.NewTimer(limit/4 + promptly)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
			e.Errorf("a call hangs: %v", context.Cause(ctx))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.report
	r.Failures = slices.Clone(r.Failures)
	return r
}

// recovered turns a panic of a case, or of the sink under it, into a failure.
func (e *Env) recovered() {
	if p := recover(); p != nil {
		e.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}
