package provisioner_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/report"
)

// fleetOfAll makes a worker in each state: succeeded and ended, succeeded and serving, running, queued.
func fleetOfAll(t *testing.T, y *yard) []string {
	t.Helper()
	y.build = func(ctx context.Context, p *fake.Proc, id string) int {
		p.Linger(time.Minute)
		if !strings.HasPrefix(id, "build-2-") {
			report.Write(p.Stdout(), report.Line{State: report.Succeeded})
		}
		if strings.HasPrefix(id, "build-0-") {
			return 0
		}
		return untilTold(ctx, p, id)
	}
	y.clone = func(_ context.Context, p *fake.Proc) int { p.Linger(time.Minute); return 0 }
	d := y.Open("workers")
	defer d.Close()
	first, err := provisioner.New(provisioner.Config{Driver: d, Image: "worker", WorkerKey: []byte("0123456789abcdef"), Limits: provisioner.Limits{Total: 1}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	var ids []string
	for build := range uint64(4) {
		ids = append(ids, ask(t, first, trigger(build)).ID)
	}
	time.Sleep(20 * time.Minute)
	synctest.Wait()
	for i, want := range []provisioner.State{provisioner.Succeeded, provisioner.Succeeded, provisioner.Running, provisioner.Queued} {
		if w, err := first.Worker(ids[i]); err != nil || w.State != want {
			t.Fatalf("the worker is %+v, %v; want %s", w, err, want)
		}
	}
	cancel()
	<-done
	return ids
}

func ask200(h http.Handler, path string) (int, string) {
	r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestRestart starts a provisioner where there are workers of all kinds. None is ever told of as something that it is not, and nothing is counted a second time.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		ids := fleetOfAll(t, y)
		before := map[string]provisioner.Worker{}
		slow := make(chan struct{})
		began := time.Now()
		p := y.open(t, func(c *provisioner.Config) {
			c.Limits.Total = 1
			c.Driver.(*fake.Driver).Inject(fake.Fault{Op: "logs", Delay: slow})
		})
		h := p.Handler(provisioner.Gate{Open: true})
		synctest.Wait()
		if code, body := ask200(h, "/api/worker"); code != http.StatusServiceUnavailable {
			t.Errorf("before the past is read: %d %s", code, body)
		}
		for i, want := range []provisioner.State{provisioner.Running, provisioner.Running, provisioner.Running, provisioner.Queued} {
			w, err := p.Worker(ids[i])
			if err != nil || w.State != want {
				t.Errorf("before its past is read, the worker is %+v, %v; want %s", w, err, want)
			}
			before[w.ID] = w
		}
		close(slow)
		synctest.Wait()
		if code, body := ask200(h, "/api/worker"); code != http.StatusOK {
			t.Errorf("when the past is read: %d %s", code, body)
		}
		for i, want := range []string{"queued cloning running succeeded", "queued cloning running succeeded", "queued cloning running", "queued"} {
			w, err := p.Worker(ids[i])
			if err != nil {
				t.Fatal(err)
			}
			var states []string
			for _, c := range w.History {
				states = append(states, string(c.State))
				if !c.Time.Before(began) {
					t.Errorf("%s came into %s at the restart", w.ID, c.State)
				}
			}
			if s := strings.Join(states, " "); s != want {
				t.Errorf("the states of %s are %s; want %s", w.ID, s, want)
			}
			if (w.Started == nil) != (i == 3) || w.Started != nil && !w.Started.Equal(w.History[1].Time) || (w.Ended == nil) != (i > 1) {
				t.Errorf("%s has started %v and ended %v", w.ID, w.Started, w.Ended)
			}
		}
		_, metrics := ask200(h, "/metrics")
		for _, counted := range []string{"wharf_provisioner_workers_ended_total{", "wharf_provisioner_running_seconds_count 1", "wharf_provisioner_queue_seconds_count 1"} {
			if strings.Contains(metrics, counted) {
				t.Errorf("counted again: %s", counted)
			}
		}
		if err := y.Signal(taskOf(t, y, ids[2]), 15); err != nil {
			t.Fatal(err)
		}
		until(t, p, ids[3], provisioner.Cloning)
		synctest.Wait()
		_, metrics = ask200(h, "/metrics")
		for _, counted := range []string{`wharf_provisioner_workers_ended_total{cause="",state="cancelled"} 1`, "wharf_provisioner_queue_seconds_count 1"} {
			if !strings.Contains(metrics, counted) {
				t.Errorf("not counted: %s", counted)
			}
		}
	})
}

// TestPastUnreadable: a log that cannot be read keeps nobody waiting for ever.
func TestPastUnreadable(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		ids := fleetOfAll(t, y)
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver.(*fake.Driver).Inject(fake.Fault{Op: "logs", Err: driver.WithClass(errdefs.ErrUnavailable, "no log")})
		})
		h := p.Handler(provisioner.Gate{Open: true})
		time.Sleep(time.Minute)
		synctest.Wait()
		if code, body := ask200(h, "/api/worker"); code != http.StatusOK {
			t.Errorf("%d %s", code, body)
		}
		if w, err := p.Worker(ids[0]); err != nil || w.State != provisioner.Succeeded { // by its exit code
			t.Errorf("the worker is %+v, %v", w, err)
		}
	})
}

// TestSameAfterRestart: what is told of a worker is the same before and after, but for what only the first has seen.
func TestSameAfterRestart(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, nil)
		w := until(t, p, ask(t, p, trigger(1)).ID, provisioner.Succeeded)
		time.Sleep(time.Hour)
		q := y.open(t, nil)
		synctest.Wait()
		got, err := q.Worker(w.ID)
		if err != nil {
			t.Fatal(err)
		}
		w, err = p.Worker(w.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.History, w.Started = nil, nil
		got.History, got.Started = nil, nil
		if diff := cmp.Diff(w, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestRefusalKept: why a worker could not be started is known after a restart too, and goes with it.
func TestRefusalKept(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		const why = "the moon is in the way"
		p, d := y.opened(t, nil)
		d.Inject(fake.Fault{Op: "start", Err: driver.WithClass(errdefs.ErrFailedPrecondition, why+"%s", strings.Repeat("!", 3000))})
		id := ask(t, p, trigger(1)).ID
		w := until(t, p, id, provisioner.Failed)
		if !strings.Contains(w.Reason, why) || len(w.Reason) > 1024 {
			t.Errorf("the reason is %q", w.Reason)
		}
		q := y.open(t, nil)
		synctest.Wait()
		if got, err := q.Worker(id); err != nil || got.State != provisioner.Failed || got.Reason != w.Reason {
			t.Errorf("after a restart the worker is %+v, %v; want %+v", got, err, w)
		}
		if err := q.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		y.empty(t)
	})
}

// TestReasonOfEachState: each state has a reason, also in the history; one that the runtime tells takes its place, and nothing is left of that when it does not tell it any more.
func TestReasonOfEachState(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		logs, clone, build := make(chan struct{}), make(chan struct{}), make(chan struct{})
		y.clone = func(context.Context, *fake.Proc) int { <-clone; return 0 }
		y.build = func(_ context.Context, p *fake.Proc, _ string) int {
			<-build
			report.Write(p.Stdout(), report.Line{State: report.Succeeded})
			return 0
		}
		told := ""
		p := y.open(t, func(c *provisioner.Config) {
			d := c.Driver.(*fake.Driver)
			d.Inject(fake.Fault{Op: "logs", Delay: logs})
			c.Driver = &watched{Driver: d, listed: func(tasks []driver.Task) {
				for i := range tasks {
					tasks[i].Reason = told
				}
			}}
		})
		synctest.Wait()
		w := ask(t, p, trigger(1))
		is := func(state provisioner.State, reason string) {
			t.Helper()
			if w.State != state || w.Reason != reason {
				t.Errorf("the worker is %s, %q; want %s, %q", w.State, w.Reason, state, reason)
			}
		}
		look := func() {
			t.Helper()
			if err := p.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			var err error
			if w, err = p.Worker(w.ID); err != nil {
				t.Fatal(err)
			}
		}
		is(provisioner.Queued, "it waits for its turn")
		synctest.Wait()
		look()
		is(provisioner.Preparing, "its containers are being started")
		told = "no node has room"
		look()
		is(provisioner.Preparing, told)
		told = ""
		look()
		is(provisioner.Preparing, "its containers are being started")
		close(logs)
		look()
		is(provisioner.Cloning, "the repository is being cloned")
		close(clone)
		look()
		is(provisioner.Running, "the build runs")
		close(build)
		look()
		is(provisioner.Succeeded, "the build has succeeded")
		var reasons []string
		for _, c := range w.History {
			reasons = append(reasons, c.Reason)
		}
		if got := strings.Join(reasons, ", "); got != "it waits for its turn, its containers are being started, the repository is being cloned, the build runs, the build has succeeded" {
			t.Errorf("the history has the reasons %s", got)
		}
	})
}

// TestReasons are short, and text.
func TestReasons(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		y.build = func(_ context.Context, p *fake.Proc, _ string) int {
			report.Write(p.Stdout(), report.Line{State: report.Failed, Reason: "x" + strings.Repeat("ä", 5000)})
			return 1
		}
		p := y.open(t, nil)
		w := until(t, p, ask(t, p, trigger(1)).ID, provisioner.Failed)
		last := w.History[len(w.History)-1].Reason
		if len(w.Reason) > 1024 || len(w.Reason) < 1000 || !strings.HasSuffix(w.Reason, "ä…") || last != w.Reason {
			t.Errorf("the reasons have %d and %d bytes, and end with %q", len(w.Reason), len(last), w.Reason[max(0, len(w.Reason)-8):])
		}
	})
}
