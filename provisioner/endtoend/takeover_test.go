package endtoend

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

// holdings are who has which worker, as aggregators say it.
type holdings struct {
	t testing.TB

	mu      sync.Mutex
	of      map[string]holding // by worker
	changed chan struct{}      // closed, and replaced, at each change
}

// holding is a claim; a later one has a higher fence.
type holding struct {
	by    string
	fence uint64
}

func newHoldings(t testing.TB) *holdings {
	return &holdings{t: t, of: map[string]holding{}, changed: make(chan struct{})}
}

// hear returns what takes in what an aggregator logs.
func (h *holdings) hear(name string) func(logged) {
	return func(l logged) {
		if l.Message != "claimed a worker" {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if l.Fence > h.of[l.Worker].fence {
			h.of[l.Worker] = holding{name, l.Fence}
			close(h.changed)
			h.changed = make(chan struct{})
		}
	}
}

// all are who has which worker now.
func (h *holdings) all() map[string]holding {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.of)
}

// counts are how many workers each has.
func (h *holdings) counts() map[string]int {
	n := map[string]int{}
	for _, o := range h.all() {
		n[o.by]++
	}
	return n
}

// await waits for the counts to be so, and returns how long that took.
func (h *holdings) await(what string, so func(map[string]int) bool) time.Duration {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for begin := time.Now(); ; {
		h.mu.Lock()
		changed := h.changed
		h.mu.Unlock()
		n := h.counts()
		if so(n) {
			took := time.Since(begin).Round(10 * time.Millisecond)
			h.t.Logf("%s after %v: %v", what, took, n)
			return took
		}
		select {
		case <-changed:
		case <-ctx.Done():
			h.t.Fatalf("not %s: %v", what, n)
		}
	}
}

// even waits until these have all workers, and none more than one more than another.
func (h *holdings) even(workers int, who ...string) {
	h.t.Helper()
	h.await("shared evenly", func(n map[string]int) bool {
		total, most, least := 0, 0, workers
		for _, w := range who {
			total, most, least = total+n[w], max(most, n[w]), min(least, n[w])
		}
		return total == workers && most-least <= 1
	})
}

// without waits until one has no worker any more.
func (h *holdings) without(who, what string) {
	h.t.Helper()
	h.await("taken over from one that was "+what, func(n map[string]int) bool { return n[who] == 0 })
}

// TestTakeOver has three aggregators share many workers. One is killed, one is cut off from the runtime, and one is stopped for a while: the others take its workers over, and when it is back they
// share anew. wharf-api has every line once.
func TestTakeOver(t *testing.T) {
	number := sample(9, 60)
	p := begin(t, fmt.Sprintf("--limit=%d", number), "--rate=-1")
	api := wharfAPI(t, wharfapitest.Options{})
	d, h := newDesk(t, nobody), newHoldings(t)
	p.repository("talk", "main", d.talking(1, 1))
	names := []string{"one", "two", "three"}
	var all [3]*daemon
	var through [3]*relay
	for i, name := range names {
		through[i] = newRelay(t, p.runtime)
		all[i] = p.relayer(name, through[i].driver(t, p.url), api)
		all[i].heard = h.hear(name)
		all[i].start()
	}
	var mu sync.Mutex
	builds := map[string]uint64{} // by worker
	crowd(number, 4, func(i int) {
		api.Add(uint64(i + 1))
		w := p.trigger(i+1, "talk", "main")
		mu.Lock()
		defer mu.Unlock()
		builds[w.ID] = w.Build
	})
	if t.Failed() {
		t.FailNow()
	}
	h.even(number, names...)

	all[0].end(syscall.SIGKILL)
	h.without("one", "killed")
	all[0].start()
	h.even(number, names...)

	through[1].cut()
	if p.runtime == "containerd" { // workers are reached without the daemon there: who is cut off from it relays on
		for worker, o := range h.all() {
			if o.by == "two" {
				before := api.Count(builds[worker])
				p.report(api, int(builds[worker]), "relayed still", func(b *wharfapitest.Build) bool { return b.Count > before })
			}
		}
	} else {
		h.without("two", "cut off")
	}
	through[1].mend()
	h.even(number, names...)

	paused := time.NewTimer(time.Duration(sample(8, 60)) * time.Second)
	all[2].signal(syscall.SIGSTOP)
	h.without("three", "stopped")
	<-paused.C
	all[2].signal(syscall.SIGCONT)
	h.even(number, names...)

	all[1].end(syscall.SIGTERM)
	h.without("two", "told to end")
	all[1].start()
	h.even(number, names...)

	d.letAll()
	lines := 0
	for build := 1; build <= number; build++ {
		b := p.finished(api, build)
		if want := []string{"Scheduling", "Running", "Completed"}; !slices.Equal(slices.Compact(b.History), want) {
			t.Errorf("build %d went through %v", build, b.History)
		}
		lines += p.complete(&b)
	}
	t.Logf("%d lines", lines)
	p.gone()
}
