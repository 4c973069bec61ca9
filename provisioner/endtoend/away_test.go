package endtoend

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// TestRuntimeAway cuts the provisioner, and a worker, off from the runtime: what is asked for then is to be asked for again, and what was there goes on afterwards, in its order.
func TestRuntimeAway(t *testing.T) {
	s := prepare(t)
	r := newRelay(t, s.runtime)
	s.url = r.driver(t, s.url)
	p := s.provisioner("--limit=1", "--rate=-1")
	t.Cleanup(s.empty)
	d := newDesk(t, nobody)
	s.repository("away", "main", d.definition())
	var ids []string
	for build := 1; build <= 3; build++ {
		ids = append(ids, p.trigger(build, "away", "main").ID)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := d.await(ctx, func(d *desk) bool { return d.now == 1 }); err != nil {
		t.Fatalf("no build has begun: %v", err)
	}
	p.placed(ids[2], 2)

	r.cut()
	a, err := p.post(s.parameters(4, "away", "main"))
	t.Logf("that the runtime is away is said after %v", a.took.Round(time.Millisecond))
	if err != nil || a.status != http.StatusServiceUnavailable || a.retryAfter == "" {
		t.Errorf("while the runtime is away a trigger is answered by %d, Retry-After %q, %v; %v", a.status, a.retryAfter, &a.problem, err)
	}
	list, err := p.client.Workers(t.Context())
	if err != nil || len(list) != 3 || list[0].ID != ids[1] || list[1].ID != ids[2] || list[2].State != provisioner.Running {
		t.Errorf("while the runtime is away the list is %+v, %v", list, err)
	}
	r.mend()

	a, _ = p.insist(s.parameters(4, "away", "main"))
	ids = append(ids, a.worker.ID)
	d.letGo()
	p.allBe(ids, provisioner.Succeeded)
	d.once()
	if !slices.Equal(d.order, []int{1, 2, 3, 4}) {
		t.Errorf("the builds ran in the order %v", d.order)
	}
	if removed, err := p.client.Prune(t.Context(), 0); err != nil || len(removed) != 4 {
		t.Errorf("pruned were %v, %v", removed, err)
	}
}

// placed waits until a worker has a place in the queue.
func (p *process) placed(id string, position int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for w, err := range p.client.Watch(ctx) {
		if err != nil {
			p.t.Fatalf("worker %s does not come to place %d: %v", id, position, err)
		}
		if w.ID == id && w.Position == position {
			return
		}
	}
}
