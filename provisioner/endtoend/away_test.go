package endtoend

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// TestRuntimeAway cuts the provisioner off from the runtime: what is asked for then is to be asked for again, and what was there goes on afterwards, in its order. Of the worker that
// has begun only the clone runs, which has no use for the runtime: how long a build bears without it is another matter.
func TestRuntimeAway(t *testing.T) {
	s := prepare(t)
	r := newRelay(t, s.runtime)
	s.url = r.driver(t, s.url)
	p := s.provisioner("--limit=1", "--rate=-1")
	t.Cleanup(s.empty)
	d := newDesk(t, nil)
	s.repository("away", "main", d.definition())
	cloning, free := make(chan bool, 1), make(chan bool)
	repositories := guarded(s.gitHandler())
	s.git = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case cloning <- true:
		default:
		}
		<-free
		repositories.ServeHTTP(w, r)
	}))
	var ids []string
	for build := 1; build <= 3; build++ {
		ids = append(ids, p.trigger(build, "away", "main").ID)
	}
	p.until(ids[0], provisioner.Cloning)
	<-cloning
	p.placed(ids[2], 2)

	r.cut()
	a, err := p.post(s.parameters(4, "away", "main"))
	t.Logf("that the runtime is away is said after %v", a.took.Round(time.Millisecond))
	if err != nil || a.status != http.StatusServiceUnavailable || a.retryAfter == "" {
		t.Errorf("while the runtime is away a trigger is answered by %d, Retry-After %q, %v; %v", a.status, a.retryAfter, &a.problem, err)
	}
	list, err := p.client.Workers(t.Context())
	if err != nil || len(list) != 3 || list[0].ID != ids[1] || list[1].ID != ids[2] || list[2].State != provisioner.Cloning {
		t.Errorf("while the runtime is away the list is %+v, %v", list, err)
	}
	r.mend()
	close(free)

	a, _ = p.insist(s.parameters(4, "away", "main"))
	ids = append(ids, a.worker.ID)
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
