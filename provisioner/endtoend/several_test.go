package endtoend

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// TestSeveral has three provisioners serve one runtime, kills one of them at random moments, and wants each build to run once, and never more at the same time than may. The workers of the
// first few builds stay; of those of a long run everything is taken as they end.
func TestSeveral(t *testing.T) {
	const limit, stay = 3, 9
	number, kills := sample(stay, 500), sample(2, 60)
	s := prepare(t)
	d := newDesk(t, func(d *desk) bool { return d.most >= limit }) // the first wait for each other, so that the limit is reached
	s.repository("several", "main", d.definition())
	var all [3]*process
	for i := range all {
		all[i] = s.provisioner("--limit=3", "--rate=-1", "--grace=5s")
	}
	t.Cleanup(s.empty)
	over, done := context.WithCancel(t.Context())
	var killing sync.WaitGroup
	killing.Go(func() { all[1].killAtRandom(over, kills, 4*time.Second) })
	ids := make([]string, number)
	crowd(number, 6, func(i int) {
		a, _ := all[i%len(all)].insist(s.parameters(i, "several", "main"))
		ids[i] = a.worker.ID
	})
	var taking sync.WaitGroup
	all[0].eachIs(ids, provisioner.Succeeded, func(id string) {
		if !slices.Contains(ids[:stay], id) {
			taking.Go(func() { all[2].insistOnDeletion(id) })
		}
	})
	taking.Wait()
	done()
	killing.Wait()
	all[2].allBe(ids[:stay], provisioner.Succeeded) // each hears of it by itself
	d.once()
	if d.ran() != number {
		t.Errorf("of %d builds %d ran", number, d.ran())
	}
	if d.most != limit {
		t.Errorf("%d ran at once; want %d, which is the limit", d.most, limit)
	}
	all[2].there(stay)
	removed, err := all[2].client.Prune(t.Context(), 0)
	if err != nil || len(removed) != stay {
		t.Errorf("%d were pruned, %v; want %d", len(removed), err, stay)
	}
	all[2].deleteRest(ids)
}

// killAtRandom kills a provisioner with -9 so many times, each time after a random while, and starts it again, until ctx ends.
func (p *process) killAtRandom(ctx context.Context, times int, longest time.Duration) {
	for range times {
		after := time.NewTimer(rand.N(longest))
		defer after.Stop()
		select {
		case <-after.C:
			p.restart()
		case <-ctx.Done():
			return
		}
	}
}

// allBe waits until all of these workers are in a state.
func (p *process) allBe(ids []string, state provisioner.State) {
	p.t.Helper()
	p.eachIs(ids, state, func(string) {})
}

// eachIs calls f for each of these workers when it is in a state, and returns when all have been.
func (p *process) eachIs(ids []string, state provisioner.State, f func(id string)) {
	p.t.Helper()
	left := map[string]bool{}
	for _, id := range ids {
		left[id] = true
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience+time.Duration(len(ids))*10*time.Second)
	defer cancel()
	for w, err := range p.client.Watch(ctx) {
		switch {
		case err != nil:
			list, _ := p.client.Workers(p.t.Context())
			p.t.Fatalf("%d workers are not %s yet: %v; there are %+v", len(left), state, err, list)
		case w.State == state && left[w.ID]:
			f(w.ID)
			if delete(left, w.ID); len(left) == 0 {
				return
			}
		case w.State == provisioner.Removed: // what was made by half gave way, and is made anew
		case w.State.Final() && left[w.ID]:
			p.t.Fatalf("worker %s is %s: %s", w.ID, w.State, w.Reason)
		}
	}
}
