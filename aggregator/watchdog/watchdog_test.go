package watchdog_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/provisioner"
)

// A build without a worker fails when the time of grace is over, not before, and its line says what is known.
func TestMissing(t *testing.T) {
	w := newWorld(t, 1)
	for id := range uint64(5) {
		w.api.Add(id + 1)
	}
	w.places[0].add(1, provisioner.Running)
	w.places[0].add(2, provisioner.Succeeded) // it is the aggregator's to say so
	had := w.places[0].add(3, provisioner.Cloning)
	w.api.Change(4, func(b *wharfapitest.Build) { b.Status, b.Worker = "Running", "build-4-by-name" })
	dog := w.watchdog(nil)
	if err := dog.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := w.clock.UTC().Format(time.RFC3339)
	w.places[0].remove(had)
	w.clock = w.clock.Add(every)
	if err := w.watch(dog, grace-every-time.Second); err != nil {
		t.Fatal(err)
	}
	w.failed(4, "its worker build-4-by-name has been missing since "+seen, "Start the build again")
	w.failed(5, "there has been none since "+seen+", when this was noticed, and perhaps there never was one")
	w.untouched(1, 2, 3) // the third is missing for a moment less
	measures(t, dog, "missing_builds 3")
	if err := w.watch(dog, every); err != nil {
		t.Fatal(err)
	}
	w.failed(3, "its worker "+had+" was cloning at "+seen+", and has been missing since ")
	if err := w.watch(dog, 2*grace); err != nil {
		t.Fatal(err)
	}
	w.untouched(1, 2)
	for _, id := range []uint64{3, 4, 5} {
		w.failed(id)
	}
	measures(t, dog, "missing_builds 0", "unwanted_workers 0", `actions_total{kind="fail_build"} 3`, `actions_total{kind="delete_worker"} 0`, `rounds_total{result="held"} 0`)
	if n := w.api.Calls(wharfapitest.PutStatus); n != 3 {
		t.Errorf("%d states were set", n)
	}
}

// A worker whose build is not active is deleted when the time of grace is over; one that has ended meanwhile has it from then.
func TestUnwanted(t *testing.T) {
	w := newWorld(t, 1)
	p := w.places[0]
	w.api.Add(1)
	w.api.Add(2)
	w.api.Change(2, func(b *wharfapitest.Build) { b.Status = "Completed" })
	p.add(1, provisioner.Running)
	ended, unknown, ends, odd := p.add(2, provisioner.Running), p.add(3, provisioner.Queued), p.add(4, provisioner.Running), p.add(0, provisioner.Running)
	dog := w.watchdog(nil)
	if err := w.watch(dog, grace-every); err != nil || len(p.gone()) > 0 {
		t.Fatalf("deleted are %v, %v", p.gone(), err)
	}
	p.add(4, provisioner.Failed)
	if err := w.watch(dog, every); err != nil {
		t.Fatal(err)
	}
	if got := p.gone(); len(got) != 2 || slices.Contains(got, ends) {
		t.Errorf("deleted are %v, and should be %s and %s", got, ended, unknown)
	}
	measures(t, dog, "unwanted_workers 3", `actions_total{kind="delete_worker"} 2`)
	if err := w.watch(dog, grace); err != nil {
		t.Fatal(err)
	}
	if got := p.gone(); len(got) != 3 || got[2] != ends || slices.Contains(got, odd) {
		t.Errorf("deleted are %v, and at last should be %s", got, ends)
	}
	w.untouched(1)
}

// What is well again is forgotten, and time in which nobody answered, or the watchdog was stopped, does not count.
func TestGrace(t *testing.T) {
	for name, between := range map[string]func(w *world, dog *watchdog.Watchdog){
		"well for a moment": func(w *world, dog *watchdog.Watchdog) {
			id := w.places[0].add(1, provisioner.Queued)
			if err := dog.Round(t.Context()); err != nil {
				t.Error(err)
			}
			w.places[0].remove(id)
		},
		"wharf-api is down": func(w *world, dog *watchdog.Watchdog) {
			w.api.Down()
			if err := w.watch(dog, 2*grace); err == nil || !strings.Contains(err.Error(), "the sink does not say which builds are active") {
				t.Errorf("while wharf-api is down: %v", err)
			}
			if err := w.api.Up(); err != nil {
				t.Error(err)
			}
		},
		"a provisioner is down": func(w *world, dog *watchdog.Watchdog) {
			w.places[0].set(func(p *place) { p.down = true })
			if err := w.watch(dog, 2*grace); err == nil || !strings.Contains(err.Error(), "a provisioner does not say which workers there are: "+w.places[0].URL) {
				t.Errorf("while a provisioner is down: %v", err)
			}
			w.places[0].set(func(p *place) { p.down = false })
		},
		"a runtime is away": func(w *world, dog *watchdog.Watchdog) {
			w.places[0].set(func(p *place) { p.away = "docker does not answer" })
			if err := w.watch(dog, 2*grace); err == nil || !strings.Contains(err.Error(), "docker does not answer") {
				t.Errorf("while a runtime is away: %v", err)
			}
			w.places[0].set(func(p *place) { p.away = "" })
		},
		"the watchdog is stopped": func(w *world, _ *watchdog.Watchdog) { w.clock = w.clock.Add(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.api.Add(1)
			dog := w.watchdog(nil)
			if err := w.watch(dog, grace-2*every); err != nil {
				t.Fatal(err)
			}
			between(w, dog)
			if err := dog.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.untouched(1)
			if err := w.watch(dog, grace); err != nil {
				t.Fatal(err)
			}
			w.failed(1)
		})
	}
}

// A build has the time of grace from when it was scheduled, also if it was missing before.
func TestScheduledAnew(t *testing.T) {
	w := newWorld(t, 1)
	w.api.Add(1)
	dog := w.watchdog(nil)
	if err := w.watch(dog, grace-every); err != nil {
		t.Fatal(err)
	}
	w.api.Change(1, func(b *wharfapitest.Build) { b.Scheduled = w.clock })
	if err := w.watch(dog, grace-every); err != nil {
		t.Fatal(err)
	}
	w.untouched(1)
	if err := w.watch(dog, every); err != nil {
		t.Fatal(err)
	}
	w.failed(1)
}

// Who is asked and does not answer is told by the metrics and by /readyz.
func TestHealth(t *testing.T) {
	w := newWorld(t, 1)
	dog := w.watchdog(nil)
	if code, text := told(t, dog, "/readyz"); code != http.StatusServiceUnavailable || text != "nobody has looked yet\n" {
		t.Errorf("before the first look: %d %q", code, text)
	}
	if err := dog.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, text := told(t, dog, "/readyz"); code != http.StatusOK {
		t.Errorf("after a good look: %d %q", code, text)
	}
	w.places[0].set(func(p *place) { p.down = true })
	_ = dog.Round(t.Context())
	w.api.Down()
	_ = dog.Round(t.Context())
	if code, text := told(t, dog, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "the sink does not say") {
		t.Errorf("without wharf-api: %d %q", code, text)
	}
	if code, _ := told(t, dog, "/healthz"); code != http.StatusOK {
		t.Errorf("it is not healthy: %d", code)
	}
	measures(t, dog, `rounds_total{result="ok"} 1`, `rounds_total{result="provisioner"} 1`, `rounds_total{result="sink"} 1`)
}

// A dry run ends nothing, and says once what it would.
func TestDryRun(t *testing.T) {
	w := newWorld(t, 1)
	w.api.Add(1)
	id := w.places[0].add(2, provisioner.Running)
	dog := w.watchdog(func(c *watchdog.Config) { c.DryRun = true })
	if err := w.watch(dog, 2*grace); err != nil {
		t.Fatal(err)
	}
	w.untouched(1)
	if got := w.places[0].gone(); len(got) > 0 {
		t.Errorf("deleted are %v", got)
	}
	for _, words := range []string{"it would fail", "it would be deleted", watchdog.Words, id} {
		if strings.Count(w.log.String(), words) != 1 && words != id {
			t.Errorf("the log has %q %d times", words, strings.Count(w.log.String(), words))
		}
	}
	measures(t, dog, "missing_builds 1", "unwanted_workers 1", `actions_total{kind="fail_build"} 0`, `actions_total{kind="delete_worker"} 0`)
}

// If most of what there is seems to be alone, nothing is done, unless it is wanted so.
func TestMass(t *testing.T) {
	for _, c := range []struct {
		missing, well, unwanted int
		force                   bool
		held                    string
	}{
		{missing: 6, well: 5, held: "6 of 11 active builds have no worker"},
		{missing: 6, well: 5, force: true},
		{missing: 6, well: 6},
		{missing: 5, well: 0},
		{missing: 1, unwanted: 6, held: "the builds of 6 of 6 workers are not active"},
		{unwanted: 6, well: 5, held: "the builds of 6 of 11 workers are not active"},
		{unwanted: 6, well: 5, force: true},
		{unwanted: 6, well: 6},
		{unwanted: 5},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			w := newWorld(t, 1)
			for i := range c.missing + c.well {
				w.api.Add(uint64(i + 1))
				if i >= c.missing {
					w.places[0].add(uint64(i+1), provisioner.Running)
				}
			}
			for i := range c.unwanted {
				w.places[0].add(uint64(100+i), provisioner.Running)
			}
			dog := w.watchdog(func(cfg *watchdog.Config) { cfg.Force = c.force })
			err := w.watch(dog, grace)
			deleted := len(w.places[0].gone())
			if c.held == "" {
				if err != nil || deleted != c.unwanted {
					t.Errorf("deleted are %d, %v", deleted, err)
				}
				for i := range c.missing {
					w.failed(uint64(i + 1))
				}
				return
			}
			if !errors.Is(err, watchdog.ErrHeld) || !strings.Contains(err.Error(), c.held) || deleted > 0 {
				t.Errorf("deleted are %d, and the error is %v; want %q", deleted, err, c.held)
			}
			for i := range c.missing {
				w.untouched(uint64(i + 1))
			}
			measures(t, dog, `rounds_total{result="held"} 1`)
		})
	}
}

// No more than so many are ended after one look.
func TestMost(t *testing.T) {
	w := newWorld(t, 1)
	for id := range uint64(5) {
		w.api.Add(id + 1)
	}
	dog := w.watchdog(func(c *watchdog.Config) { c.Most = 2 })
	for i, want := range []string{"2", "4", "5"} {
		if err := w.watch(dog, grace*time.Duration(boolean(i == 0))); err != nil {
			t.Fatal(err)
		}
		measures(t, dog, `actions_total{kind="fail_build"} `+want)
		w.clock = w.clock.Add(every)
	}
}

// What cannot be ended does not keep the others.
func TestStuck(t *testing.T) {
	w := newWorld(t, 1)
	for id := range uint64(3) {
		w.api.Add(id + 1)
	}
	dog := w.watchdog(func(c *watchdog.Config) { c.Most = 1 })
	w.api.SetFault(func(c wharfapitest.Call) (f wharfapitest.Fault) {
		if c.Build == 1 {
			f.Refuse = http.StatusInternalServerError
		}
		return f
	})
	if err := w.watch(dog, grace+2*every); err != nil {
		t.Error(err)
	}
	w.failed(2)
	w.failed(3)
	if b := w.api.Build(1); b.Status != "Scheduling" {
		t.Errorf("the one that is stuck is %s", b.Status)
	}
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
