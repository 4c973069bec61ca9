package aggregator_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
)

// failed waits until a build is Failed at wharf-api, and its worker is gone with all that stood for it, and returns what is said of it.
func (f *fakeWorker) failed() []string {
	f.w.t.Helper()
	b := f.w.until(f.build, "failed", func(b *wharfapitest.Build) bool { return b.Status == "Failed" })
	f.w.empty()
	b = f.w.api.Build(f.build)
	n := len(f.printed)
	if len(b.Lines) <= n {
		f.w.t.Fatalf("build %d has %d lines; %d were printed, and some are to say why it has failed", f.build, len(b.Lines), n)
	}
	var words []string
	for _, l := range b.Lines[n:] {
		if !strings.HasPrefix(l.Message, "wharf: ") {
			f.w.t.Errorf("build %d: %q", f.build, l.Message)
		}
		words = append(words, l.Message)
	}
	b.Lines = b.Lines[:n]
	f.same(b)
	return words
}

// empty waits until nothing is left on the runtime.
func (w *world) empty() {
	w.t.Helper()
	w.leaves(0)
}

// leaves waits until so many tasks and volumes are left at most: the runtime tells nobody of volumes.
func (w *world) leaves(n int) {
	w.t.Helper()
	for begin := time.Now(); len(w.runtime.Left("workers")) > n; time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > patience {
			w.t.Fatalf("there are left: %v", w.runtime.Left("workers"))
		}
	}
}

// A worker that is killed: what it kept is relayed, and that the build has failed is told once, by one of two aggregators.
func TestKilled(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	w.aggregator("one", nil)
	w.aggregator("two", nil)
	f := w.add(1).start()
	f.many(1000)
	w.until(1, "relayed", func(b *wharfapitest.Build) bool { return b.Count == 1000 })
	f.many(500)
	f.artifact("kept.txt", "kept")
	f.kill()
	words := f.failed()
	if !strings.Contains(words[0], "exited with code 137") {
		t.Errorf("it is said %q", words)
	}
}

// A worker that is killed when its build had ended well: the build is what the journal says.
func TestKilledAfterTheEnd(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	f := w.add(1).start()
	f.many(10)
	f.artifact("kept.txt", "kept")
	f.end(journal.Succeeded, "")
	f.kill()
	w.aggregator("one", nil)
	b := w.until(1, "completed", func(b *wharfapitest.Build) bool { return b.Status == "Completed" })
	f.same(b)
	if len(b.Files) != 1 || string(b.Files[0].Content) != "kept" {
		t.Errorf("files %+v", b.Files)
	}
}

// Workers that are removed, while they wait or while they run.
func TestRemoved(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	w.aggregator("one", nil)
	waits, runs := w.add(1), w.add(2).start()
	runs.print("one line")
	w.until(2, "relayed", func(b *wharfapitest.Build) bool { return b.Count == 1 })
	for _, id := range []driver.TaskID{waits.task, runs.task} {
		if err := w.driver.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []*fakeWorker{waits, runs} {
		if words := f.failed(); !strings.Contains(words[0], "its worker was removed before") {
			t.Errorf("it is said %q", words)
		}
	}
}

// slow is a driver whose runtime takes its time to copy files out.
type slow struct {
	driver.Driver
	begun chan struct{}
	by    time.Duration
}

func (s *slow) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	t := time.NewTimer(s.by)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Driver.CopyOut(ctx, opts)
}

func (s *slow) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	return driver.Events(ctx, s.Driver, opts, f)
}

func (s *slow) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	return driver.Dial(ctx, s.Driver, id, port)
}

// A copy takes longer than a turn lasts: it is made once, and what the worker has left is relayed.
func TestSlowCopy(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	for _, name := range []string{"one", "two"} {
		w.aggregator(name, func(cfg *aggregator.Config, _ *wharfapi.Options) {
			cfg.Driver = &slow{cfg.Driver, make(chan struct{}, 1), 9 * time.Second}
		})
	}
	f := w.add(1).start()
	f.many(100)
	f.kill()
	if words := f.failed(); !strings.Contains(words[0], "exited with code 137") {
		t.Errorf("it is said %q", words)
	}
}

// A worker goes, as with its node, while what it has left is being copied: its build's end does not wait for that.
func TestGoneMeanwhile(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	s := &slow{nil, make(chan struct{}, 1), time.Hour}
	w.aggregator("one", func(cfg *aggregator.Config, _ *wharfapi.Options) {
		s.Driver = cfg.Driver
		cfg.Driver = s
	})
	f := w.add(1).start()
	f.print("one line")
	w.until(1, "relayed", func(b *wharfapitest.Build) bool { return b.Count == 1 })
	f.kill()
	select {
	case <-s.begun:
	case <-time.After(patience):
		t.Fatal("nothing is copied")
	}
	if err := w.driver.Remove(t.Context(), f.task); err != nil {
		t.Fatal(err)
	}
	if words := f.failed(); !strings.Contains(words[0], "its worker was removed before") {
		t.Errorf("it is said %q", words)
	}
}

// stuck is a driver whose runtime says why tasks do not run, and goes on trying.
type stuck struct{ driver.Driver }

func (s *stuck) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	tasks, err := s.Driver.List(ctx, opts)
	for i := range tasks {
		if tasks[i].State == driver.StateCreated {
			tasks[i].State, tasks[i].Reason = driver.StateStarting, "no node has room"
		}
	}
	return tasks, err
}

func (s *stuck) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	return driver.Events(ctx, s.Driver, opts, func(ev driver.Event) error {
		if ev.State == driver.StateCreated {
			ev.State, ev.Reason = driver.StateStarting, "no node has room"
		}
		return f(ev)
	})
}

// A worker that the runtime cannot start, and does not give up: its build fails with what the runtime says.
func TestUnstarted(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	for _, name := range []string{"one", "two"} {
		w.aggregator(name, func(cfg *aggregator.Config, _ *wharfapi.Options) {
			cfg.Driver, cfg.Unstarted = &stuck{cfg.Driver}, 100*time.Millisecond
		})
	}
	words := w.add(1).failed()
	if !strings.Contains(words[0], "its worker could not be started: not within 100ms: no node has room") && !strings.Contains(strings.Join(words, "\n"), "the runtime said at") {
		t.Errorf("it is said %q", words)
	}
}
