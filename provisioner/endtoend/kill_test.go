package endtoend

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// TestKilled kills the provisioner at random moments while builds are asked for, run and are deleted, and wants nothing to be doubled, and nothing to be left.
func TestKilled(t *testing.T) {
	rounds := sample(3, 60)
	p := begin(t, "--limit=2", "--rate=-1", "--grace=2s")
	d := newDesk(t, nil)
	p.repository("killed", "main", d.definition())
	for round := range rounds {
		over, done := context.WithCancel(t.Context())
		var killing sync.WaitGroup
		killing.Go(func() { p.killAtRandom(over, 1, 2*time.Second) })
		ids := make([]string, 6)
		crowd(len(ids), 3, func(i int) {
			a, _ := p.insist(p.parameters(10*round+i, "killed", "main"))
			ids[i] = a.worker.ID
			if i%3 == 0 {
				p.reach(a.worker.ID, provisioner.Preparing)
			}
			p.insistOnDeletion(a.worker.ID)
		})
		done()
		killing.Wait()
		p.deleteRest(ids)
		tasks, err := p.workers.List(t.Context(), driver.ListOptions{})
		if err != nil || len(tasks) > 0 {
			t.Fatalf("after round %d there are %+v, %v", round, tasks, err)
		}
	}
	d.once()
}

// reach waits until a worker has come to a state, or further, over as many deaths of the provisioner as that takes.
func (p *process) reach(id string, state provisioner.State) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	far := map[provisioner.State]int{provisioner.Preparing: 1, provisioner.Cloning: 2, provisioner.Running: 3}
	for ctx.Err() == nil && p.awaitBack() {
		for w, err := range p.client.Watch(ctx) {
			if err != nil {
				break
			}
			if w.ID == id && (far[w.State] >= far[state] || w.State.Final()) {
				return
			}
		}
	}
	p.t.Errorf("worker %s does not come to be %s", id, state)
}
