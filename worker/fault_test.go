package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// What a plan needs of the runtime, at any of its calls, may fail: the build ends, nothing is taken for a success that
// is none, and nothing is left.
func TestFaultAtEveryCall(t *testing.T) {
	ops := []string{"create", "start", "logs", "wait", "remove", "copy in", "copy out", "create volume", "remove volume",
		"list volumes", "capabilities", "pull", "create sandbox", "remove sandbox", "list", "list sandboxes", "next", "stop"}
	plans := map[string]string{"busy": busyPlan, "serial": strings.Join([]string{steps("a", "echo"), steps("b", "echo"), steps("c", "echo"), steps("d", "echo"), steps("e", "echo")}, "")}
	for name, text := range plans {
		for _, op := range ops {
			for after := range 10 {
				t.Run(fmt.Sprintf("%s/%s/%d", name, op, after), func(t *testing.T) {
					inBubble(t, func(t *testing.T) {
						b := newBench(t, fake.Config{})
						b.d.Inject(fake.Fault{Op: op, After: after, Times: 1, Err: &driver.Error{Op: op, Err: errAway}})
						cfg := b.config(plan(t, text))
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
						b.consistent()
						if name == "busy" && out.State == Succeeded {
							t.Errorf("outcome %+v", out)
						}
						if out.State == Errored && !strings.Contains(out.Reason, errAway.Error()) {
							t.Errorf("the reason does not have the runtime's words: %q", out.Reason)
						}
					})
				})
			}
		}
	}
}

// The daemon goes away at any event, and comes back within the bound of the clean-up.
func TestRuntimeGoesAway(t *testing.T) {
	n := countEvents(t)
	for at := range n {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t, fake.Config{})
				cfg := b.config(plan(t, busyPlan))
				cfg.Observe = func(events []Event) {
					for _, e := range events {
						b.observe([]Event{e})
						if len(b.events) == at+1 {
							b.rt.Down()
							time.AfterFunc(awayBound-5*time.Second, b.rt.Up)
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
				b.consistent()
				if out.State == Succeeded {
					t.Errorf("outcome %+v", out)
				}
			})
		})
	}
}

// What ends a step from outside is the runtime's fault, and never a success.
func TestOutsideEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		hit   func(*bench, driver.TaskID)
		state State
		words string
	}{
		{"removed", func(b *bench, id driver.TaskID) { _ = b.rt.Remove(id) }, Errored, "removed by someone else"},
		{"evicted", func(b *bench, id driver.TaskID) { _ = b.rt.Evict(id, "out of disk") }, Errored, "out of disk"},
		{"killed", func(b *bench, id driver.TaskID) { _ = b.rt.Signal(id, 9) }, Failed, "killed by signal 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBench(t, fake.Config{})
				text := "a:\n  s: {container: {image: img, cmds: [echo on, block], retry: {count: 1}}}\n"
				cfg := b.config(plan(t, text))
				cfg.Observe = func(events []Event) {
					b.observe(events)
					if !slices.ContainsFunc(events, func(e Event) bool { return e.Kind == KindLog }) {
						return
					}
					tasks, err := b.d.List(context.Background(), driver.ListOptions{})
					if err != nil {
						t.Error(err)
					}
					for _, task := range tasks {
						c.hit(b, task.ID)
					}
				}
				out := b.run(cfg)
				if out.State != c.state || !strings.Contains(out.Reason, c.words) {
					t.Errorf("outcome %+v", out)
				}
				attempts := 1
				if c.state == Errored {
					attempts = 2
				}
				if got := len(b.log("a--s")); got != attempts {
					t.Errorf("%d attempts, want %d", got, attempts)
				}
			})
		})
	}
}

func TestMissingImage(t *testing.T) {
	b := newBench(t, fake.Config{Images: map[string]fake.Image{"there": {}}})
	text := "a:\n  s: {container: {image: none, cmds: [echo]}}\n  t: {container: {image: there, cmds: [echo]}}\n"
	out := b.run(b.config(plan(t, text)))
	if out.State != Failed || !strings.Contains(out.Reason, "no such image: none") {
		t.Errorf("outcome %+v", out)
	}
	if got := b.last(KindStep, "a--t"); got != Succeeded {
		t.Errorf("the other step: %s (%s)", got, b.reason("a--t"))
	}
}
