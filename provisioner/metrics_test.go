package provisioner_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
)

// measured wants a provisioner's metrics to have certain values, without their common prefix.
func measured(t *testing.T, p *provisioner.Provisioner, want ...string) {
	t.Helper()
	_, text := ask200(p.Handler(provisioner.Gate{Open: true}), "/metrics")
	var got []string
	for line := range strings.Lines(text) {
		if rest, ours := strings.CutPrefix(line, "wharf_provisioner_"); ours && !strings.Contains(rest, "_bucket{") {
			got = append(got, strings.TrimSpace(rest))
		}
	}
	for _, line := range want {
		if !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+line+"\n") {
			t.Errorf("the metrics lack %s:\n%s", line, strings.Join(got, "\n"))
		}
	}
}

// TestMetrics: how many wait and run, for how long, and how many were started, each once.
func TestMetrics(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.build = untilTold
		p := y.open(t, one)
		synctest.Wait()
		measured(t, p, `workers{state="queued"} 0`, "queue_oldest_seconds 0", "starts_total 0", "runtime_up 1")
		ids := []string{ask(t, p, trigger(0)).ID}
		until(t, p, ids[0], provisioner.Running)
		for n := range uint64(3) {
			ids = append(ids, ask(t, p, trigger(n+1)).ID)
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		measured(t, p, `workers{state="queued"} 3`, `workers{state="running"} 1`, `workers{state="cancelled"} 0`, "queue_oldest_seconds 90", "starts_total 1")
		if err := p.Delete(t.Context(), ids[3]); err != nil { // before its turn
			t.Fatal(err)
		}
		next := func(n int) {
			if err := y.Signal(taskOf(t, y, ids[n]), 15); err != nil {
				t.Fatal(err)
			}
			until(t, p, ids[n+1], provisioner.Running)
			synctest.Wait()
		}
		next(0)
		measured(t, p, `workers{state="queued"} 1`, `workers{state="running"} 1`, `workers{state="cancelled"} 1`, "queue_oldest_seconds 60", "starts_total 2")

		q := y.open(t, one) // for which the one that waits is the only one
		synctest.Wait()
		measured(t, q, `workers{state="queued"} 1`, `workers{state="running"} 1`, "queue_oldest_seconds 60", "starts_total 0")
		next(1)
		measured(t, p, `workers{state="queued"} 0`, "queue_oldest_seconds 0", "starts_total 3")
		measured(t, q, `workers{state="queued"} 0`, "queue_oldest_seconds 0", "starts_total 1")
	})
}

// TestMetricsRuntime: whether the runtime answers.
func TestMetricsRuntime(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, nil)
		synctest.Wait()
		measured(t, p, "runtime_up 1")
		y.Down()
		synctest.Wait()
		measured(t, p, "runtime_up 0")
		y.Up()
		time.Sleep(time.Minute)
		synctest.Wait()
		measured(t, p, "runtime_up 1")
	})
}

// TestMetricsUnheard: a worker of which nothing is told until it has ended is counted as started, and one that cannot be is not.
func TestMetricsUnheard(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, func(c *provisioner.Config) {
			d := c.Driver.(*fake.Driver)
			d.Inject(fake.Fault{Op: "logs", Err: driver.WithClass(errdefs.ErrUnavailable, "no log")})
			c.Driver = &lagging{Driver: d, lose: func(driver.Event) bool { return true }}
		})
		id := ask(t, p, trigger(1)).ID
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if w, err := p.Worker(id); err != nil || w.State != provisioner.Succeeded {
			t.Errorf("the worker is %+v, %v", w, err)
		}
		measured(t, p, "starts_total 1")
	})
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver.(*fake.Driver).Inject(fake.Fault{Op: "start", Err: driver.WithClass(errdefs.ErrFailedPrecondition, "never")})
		})
		until(t, p, ask(t, p, trigger(1)).ID, provisioner.Failed)
		measured(t, p, "starts_total 0", `workers_ended_total{cause="start",state="failed"} 1`)
	})
}
