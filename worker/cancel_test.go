package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// busyPlan has everything that a cancellation may meet: steps at once, one after another, retried, with services, made ahead.
const busyPlan = `
build:
  a: {container: {image: img, cmds: [echo a, write f x], artifacts: [f], cache: [{path: c, key: k}]}}
  b: {container: {image: img, cmds: [exit 1], retry: {count: 1, on: [failure]}}}
  c: {container: {image: img, cmds: [echo c], needs: [a], services: {db: {image: db, cmds: [block]}}}}
more:
  run-if: always
  d: {container: {image: other, cmds: [echo d]}}
  e: {container: {image: other, cmds: [echo e]}}
  f: {container: {image: other, cmds: [echo f]}}
end:
  run-if: always
  g: {container: {image: img, cmds: [echo g]}}
  h: {container: {image: img, cmds: [echo h]}}
`

// countEvents runs the busy plan undisturbed.
func countEvents(t *testing.T) int {
	b := newBench(t, fake.Config{})
	if out := b.run(b.config(plan(t, busyPlan))); out.State != Failed || !strings.HasPrefix(out.Reason, "build/b: ") {
		t.Fatalf("outcome %+v", out)
	}
	return len(b.events)
}

// Whenever a build is cancelled, it ends, says the truth, and leaves nothing.
func TestCancelAtEveryEvent(t *testing.T) {
	n := countEvents(t)
	for _, force := range []bool{false, true} {
		for at := range n {
			t.Run(fmt.Sprintf("force=%v/event=%d", force, at), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					b := newBench(t, fake.Config{})
					cfg := b.config(plan(t, busyPlan))
					cfg.Repository = repository(t, map[string]string{"x": "y"})
					var build *Build
					cfg.Observe = func(events []Event) {
						for _, e := range events {
							b.observe([]Event{e})
							if len(b.events) == at+1 {
								build.Cancel("enough")
								if force {
									build.Cancel("enough")
								}
							}
						}
					}
					build, err := New(cfg)
					if err != nil {
						t.Fatal(err)
					}
					out, err := build.Run(context.Background())
					if err != nil {
						t.Errorf("Run: %v", err)
					}
					b.clean(build)
					b.stored(cfg.Results)
					if out.State != Cancelled && out.State != Failed || out.State == Cancelled && out.Reason != "enough" {
						t.Errorf("outcome %+v", out)
					}
					b.consistent()
				})
			})
		}
	}
}

// consistent checks that everything that began has ended, once.
func (b *bench) consistent() {
	b.t.Helper()
	final := map[string]int{}
	begun := map[string]bool{}
	for _, e := range b.events {
		key := string(e.Kind) + " " + e.Stage + " " + e.Step
		switch {
		case e.Kind != KindBuild && e.Kind != KindStage && e.Kind != KindStep:
		case e.State.Final():
			final[key]++
		default:
			begun[key] = true
		}
	}
	for key := range begun {
		if final[key] != 1 {
			b.t.Errorf("%s: began and ended %d times", key, final[key])
		}
	}
}

func TestCancelIsGraceful(t *testing.T) {
	for _, c := range []struct {
		script string
		want   []string
		took   time.Duration
	}{
		{"trap", []string{"trapping", "bye"}, 0},
		{"echo on; ignore", []string{"on"}, 10 * time.Second},
	} {
		t.Run(c.script, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t, fake.Config{})
				cfg := b.config(plan(t, steps("a", c.script)+steps("b", "echo")))
				ctx, cancel := context.WithCancelCause(context.Background())
				cfg.Observe = func(events []Event) {
					b.observe(events)
					if slices.ContainsFunc(events, func(e Event) bool { return e.Kind == KindLog }) {
						cancel(errors.New("interrupted"))
					}
				}
				build, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				out, err := build.Run(ctx)
				if err != nil || out != (Outcome{Cancelled, "interrupted"}) {
					t.Errorf("outcome %+v, %v", out, err)
				}
				if took := time.Since(begin).Truncate(time.Second); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if diff := cmp.Diff(c.want, b.log("a--s0")); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
				if got := b.last(KindStep, "a--s0"); got != Cancelled {
					t.Errorf("step %s", got)
				}
				if got := b.last(KindStage, "b"); got != Skipped {
					t.Errorf("next stage %s", got)
				}
				b.clean(build)
			})
		})
	}
}

func TestForce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBench(t, fake.Config{})
		cfg := b.config(plan(t, steps("a", "echo on; ignore")))
		cfg.Grace = time.Hour
		forced := make(chan struct{})
		b.d.Inject(fake.Fault{Op: "next", After: 1, Delay: forced, Err: errAway})
		var build *Build
		cfg.Observe = func(events []Event) {
			b.observe(events)
			if slices.ContainsFunc(events, func(e Event) bool { return e.Kind == KindLog }) {
				build.Cancel("first")
				time.AfterFunc(time.Minute, func() { build.Cancel("second"); close(forced) })
			}
		}
		build, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		out, err := build.Run(context.Background())
		if err != nil || out.State != Cancelled {
			t.Errorf("outcome %+v, %v", out, err)
		}
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("took %s", took)
		}
		if w := b.warnings(); len(w) > 0 { // that a log breaks off is what was asked for
			t.Errorf("warnings %q", w)
		}
		b.clean(build)
	})
}

// hanging is a driver whose calls, from a moment on, come back only when they have been cancelled, and late: after overrun.
type hanging struct {
	*fake.Driver
	hang, back chan struct{}
	overrun    time.Duration
}

func (h *hanging) wait(ctx context.Context) error {
	select {
	case <-h.hang:
	default:
		return nil
	}
	select {
	case <-ctx.Done():
	case <-h.back:
	}
	t := time.NewTimer(h.overrun)
	defer t.Stop()
	select {
	case <-t.C:
	case <-h.back:
	}
	return ctx.Err()
}

func (h *hanging) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	if err := h.wait(ctx); err != nil {
		return "", err
	}
	return h.Driver.Create(ctx, spec)
}

func (h *hanging) Start(ctx context.Context, id driver.TaskID) error {
	return errors.Join(h.wait(ctx), h.Driver.Start(ctx, id))
}

func (h *hanging) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	return errors.Join(h.wait(ctx), h.Driver.Stop(ctx, id, opts))
}

func (h *hanging) Remove(ctx context.Context, id driver.TaskID) error {
	return errors.Join(h.wait(ctx), h.Driver.Remove(ctx, id))
}

func (h *hanging) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	return h.Driver.List(ctx, opts)
}

// A runtime that hangs keeps nobody: the first cancellation ends the build in time, the second soon, wherever it is then and although
// calls that were cancelled come back late.
func TestCancelWhileTheRuntimeHangs(t *testing.T) {
	n := countEvents(t)
	for at := range n {
		for _, later := range []time.Duration{-1, 0, time.Second, 40 * time.Second, 70 * time.Second} { // the second; -1: none
			t.Run(fmt.Sprintf("event=%d/later=%s", at, later), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					b := newBench(t, fake.Config{})
					hanging := &hanging{Driver: b.d, hang: make(chan struct{}), back: make(chan struct{}), overrun: 30 * time.Second}
					defer close(hanging.back)
					cfg := b.config(plan(t, busyPlan))
					cfg.Driver = hanging
					var build *Build
					var first time.Time
					cfg.Observe = func(events []Event) {
						for _, e := range events {
							b.observe([]Event{e})
							if len(b.events) != at+1 {
								continue
							}
							close(hanging.hang)
							first = time.Now()
							build.Cancel("enough")
							if later >= 0 {
								time.AfterFunc(later, func() { build.Cancel("now") })
							}
						}
					}
					build, err := New(cfg)
					if err != nil {
						t.Fatal(err)
					}
					out, err := build.Run(context.Background())
					if err != nil && !errors.Is(err, ErrLeft) || err == nil && len(b.rt.Left("wharf")) > 1 {
						t.Errorf("Run: %v; left is %q", err, b.rt.Left("wharf"))
					}
					bound := 3 * time.Minute
					if later >= 0 {
						bound = min(bound, later+forcedBound)
					}
					if took := time.Since(first); !first.IsZero() && took > bound {
						t.Errorf("%+v took %s, want at most %s", out, took, bound)
					}
					b.consistent()
				})
			})
		}
	}
}

func TestTimeouts(t *testing.T) {
	t.Run("step", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			b := newBench(t, fake.Config{})
			text := "a:\n  s: {container: {image: img, cmds: [echo on, block], timeout: 5m, retry: {count: 1, on: [failure]}}}\n" + "b:\n  run-if: always\n" + after(steps("b", "echo"))
			begin := time.Now()
			out := b.run(b.config(plan(t, text)))
			if out.State != Failed || out.Reason != "a/s: took longer than its time-out of 5m0s" {
				t.Errorf("outcome %+v", out)
			}
			if took := time.Since(begin); took < 10*time.Minute || took > 11*time.Minute {
				t.Errorf("two attempts took %s", took)
			}
			if got := b.last(KindStage, "b"); got != Succeeded {
				t.Errorf("next stage %s", got)
			}
		})
	})
	t.Run("build", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			b := newBench(t, fake.Config{})
			cfg := b.config(plan(t, steps("a", "block", "echo")+steps("b", "echo")))
			cfg.Timeout = time.Hour
			if out := b.run(cfg); out.State != Failed || out.Reason != "the build took longer than its time-out of 1h0m0s" {
				t.Errorf("outcome %+v", out)
			}
			if b.last(KindStep, "a--s0") != Failed || b.last(KindStep, "a--s1") != Succeeded || b.last(KindStage, "b") != Skipped {
				t.Errorf("events %v", b.events)
			}
		})
	})
}

func TestFull(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, steps("a", strings.Repeat("echo "+strings.Repeat("x", 1000)+"; ", 200)+"block", "block")))
	cfg.Quota = 100_000
	build, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := build.Run(context.Background())
	if out.State != Errored || !strings.Contains(out.Reason, "quota") || err == nil {
		t.Errorf("outcome %+v, %v", out, err)
	}
	b.clean(build)
	b.stored(cfg.Results)
	if got := b.last(KindBuild, ""); got != Errored {
		t.Errorf("the journal ends with %q", got)
	}
}
