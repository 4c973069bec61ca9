package worker

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/pipeline"
)

// The last lines of the last step find no room: that the step exited with 0 does not make it a success.
func TestLostLinesAreNoSuccess(t *testing.T) {
	for range 20 { // who notices first is a matter of chance
		inBubble(t, func(t *testing.T) {
			b := newBench(t, fake.Config{})
			cfg := b.config(plan(t, steps("a", "echo "+strings.Repeat("x", 5000))))
			cfg.Quota = 4000
			build, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			out, err := build.Run(context.Background())
			if err == nil || out.State != Errored || !strings.Contains(out.Reason, "quota") {
				t.Errorf("outcome %+v, error %v", out, err)
			}
			got := []State{b.last(KindStep, "a--s0"), b.last(KindStage, "a"), b.last(KindBuild, "")}
			if diff := cmp.Diff([]State{Errored, Errored, Errored}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A plan that was not made by the parser may have steps that wait for each other.
func TestStepsThatNeverBegin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, fake.Config{})
		p := plan(t, steps("a", "echo"))
		p.Stages[0].Steps[0].Needs = []string{"elsewhere"}
		if out := b.run(b.config(p)); out.State != Errored || b.last(KindStep, p.Stages[0].Steps[0].ID) != Errored {
			t.Errorf("outcome %+v, step %s", out, b.last(KindStep, p.Stages[0].Steps[0].ID))
		}
	})
}

// hooked calls functions in place of a driver's methods, or before them.
type hooked struct {
	*fake.Driver
	copyOut func()
	start   func(ctx context.Context, id driver.TaskID) error
	remove  func(id driver.TaskID)
	next    func()
}

func (h *hooked) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	if h.copyOut != nil {
		h.copyOut()
	}
	return h.Driver.CopyOut(ctx, opts)
}

func (h *hooked) Start(ctx context.Context, id driver.TaskID) error {
	if h.start != nil {
		return h.start(ctx, id)
	}
	return h.Driver.Start(ctx, id)
}

func (h *hooked) Remove(ctx context.Context, id driver.TaskID) error {
	err := h.Driver.Remove(ctx, id)
	if h.remove != nil {
		h.remove(id)
	}
	return err
}

func (h *hooked) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	r, err := h.Driver.Logs(ctx, id, opts)
	if err == nil && h.next != nil {
		r = &hookedReader{r, h.next}
	}
	return r, err
}

type hookedReader struct {
	driver.LogReader
	next func()
}

func (r *hookedReader) Next() (driver.LogEntry, error) {
	r.next()
	return r.LogReader.Next()
}

// A stage whose last step is skipped because the build is stopped has not succeeded.
func TestStoppedStage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, fake.Config{})
		cfg := b.config(plan(t, "a:\n  s:\n    container:\n      image: img\n      cmds: [echo]\n      artifacts: [f]\n  z:\n    container:\n      image: img\n      needs: [s]\n      cmds: [echo]\n"))
		d := &hooked{Driver: b.d}
		cfg.Driver = d
		build, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d.copyOut = func() { build.Cancel("enough") }
		out, err := build.Run(context.Background())
		got := []State{out.State, b.last(KindStep, "a--s"), b.last(KindStep, "a--z"), b.last(KindStage, "a")}
		if diff := cmp.Diff([]State{Cancelled, Succeeded, Skipped, Cancelled}, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	})
}

// A log that takes long to arrive, but arrives, is not cut off.
func TestLongLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, fake.Config{})
		cfg := b.config(plan(t, steps("a", strings.TrimSuffix(strings.Repeat("echo x; ", 30), "; "))))
		cfg.Driver = &hooked{Driver: b.d, next: func() { time.Sleep(2 * time.Second) }}
		if out := b.run(cfg); out.State != Succeeded || len(b.log("a--s0")) != 30 || len(b.warnings()) != 0 {
			t.Errorf("outcome %+v, %d lines of 30, warnings %q", out, len(b.log("a--s0")), b.warnings())
		}
	})
}

// A runtime that hangs while a log is opened does not hold up an interrupt.
func TestCancelWhileLogIsOpened(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, fake.Config{})
		b.d.Inject(fake.Fault{Op: "logs", Delay: make(chan struct{})})
		build, err := New(b.config(plan(t, steps("a", "echo"))))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { build.Cancel("enough") })
		begun := time.Now()
		out, err := build.Run(context.Background())
		if took := time.Since(begun); out.State != Cancelled || err != nil || took > 5*time.Second {
			t.Errorf("outcome %+v, %v after %s", out, err, took)
		}
		b.clean(build)
	})
}

// A start whose answer did not arrive may have worked: the next attempt begins when the first is gone.
func TestRetryRunsOnlyOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, fake.Config{})
		p := plan(t, steps("a", "sleep 5"))
		p.Stages[0].Steps[0].Retry = pipeline.Retry{Count: 1, On: []pipeline.RetryOn{pipeline.RetryOnInfrastructure}}
		d := &hooked{Driver: b.d}
		var mu sync.Mutex
		runs := map[driver.TaskID]bool{}
		starts, most := 0, 0
		d.start = func(ctx context.Context, id driver.TaskID) error {
			mu.Lock()
			defer mu.Unlock()
			runs[id] = true
			starts, most = starts+1, max(most, len(runs))
			if err := b.d.Start(ctx, id); err != nil || starts > 1 {
				return err
			}
			return &driver.Error{Op: "start", Err: errAway}
		}
		d.remove = func(id driver.TaskID) {
			mu.Lock()
			defer mu.Unlock()
			delete(runs, id)
		}
		b.d.Inject(fake.Fault{Op: "remove", Times: 1, Delay: closedAfter(3 * time.Second)})
		cfg := b.config(p)
		cfg.Driver = d
		if out := b.run(cfg); out.State != Succeeded || starts != 2 || most != 1 {
			t.Errorf("outcome %+v, %d starts, %d at once", out, starts, most)
		}
	})
}

// closedAfter returns a channel that is closed after a time.
func closedAfter(d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(d, func() { close(c) })
	return c
}
