package endtoend

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// TestMany asks for many builds as fast as that can be done, kills the provisioner in the middle, and wants every build to be there once; and then nothing at all.
func TestMany(t *testing.T) {
	number, clients := sample(40, 500), sample(8, 32)
	p := begin(t, "--limit=2", "--rate=-1", "--grace=5s")
	floor := p.bareCreates(number, clients)
	d := newDesk(t, nobody) // two builds run and stay, the others wait
	p.repository("many", "main", d.definition())
	var answered atomic.Int64
	var killed sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	again, ids := 0, make([]string, number)
	crowd(number, clients, func(i int) {
		a, tries := p.insist(p.parameters(i, "many", "main"))
		mu.Lock()
		defer mu.Unlock()
		if tries == 1 {
			took = append(took, a.took)
		}
		again += tries - 1
		ids[i] = a.worker.ID
		if answered.Add(1) == int64(number)/2 {
			killed.Go(p.restart)
		}
	})
	killed.Wait()
	t.Logf("%d triggers by %d at once: %s; %d were asked again", number, clients, spread(took), again)
	t.Logf("the runtime's own create of volume, clone and worker, as many at once: %s; p99 beyond it: %v", spread(floor), (at(took, 0.99) - at(floor, 0.99)).Round(time.Millisecond))

	p.there(number)
	p.busy("many")
	crowd(number, clients, func(i int) {
		if err := p.client.Delete(t.Context(), ids[i]); err != nil {
			t.Errorf("deleting build %d: %v", i, err)
		}
	})
	p.deleteRest(ids)
	if list, err := p.client.Workers(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("after all were deleted there are %+v, %v", list, err)
	}
	d.once()
}

// crowd calls f for 0 to n-1, by so many at once.
func crowd(n, atOnce int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}

// at returns the value below which a share of all is.
func at(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[int(math.Ceil(share*float64(len(all))))-1]
}

func spread(all []time.Duration) string {
	return fmt.Sprintf("p50 %v, p99 %v, of %d", at(all, 0.5).Round(time.Millisecond), at(all, 0.99).Round(time.Millisecond), len(all))
}

// there wants workers of the builds 0 to n-1, each once, in the list and on the runtime.
func (p *process) there(n int) {
	p.t.Helper()
	list, err := p.client.Workers(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	tasks, err := p.workers.List(p.t.Context(), driver.ListOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	listed, made := map[int]int{}, map[string]int{}
	for _, w := range list {
		listed[int(w.Build)]++
	}
	for _, task := range tasks {
		made[task.Labels[provisioner.LabelWorker]]++
		if task.Incomplete {
			p.t.Errorf("worker %s was made by half", task.Labels[provisioner.LabelWorker])
		}
	}
	for i := range n {
		if listed[i] != 1 {
			p.t.Errorf("build %d is listed %d times", i, listed[i])
		}
	}
	if len(list) != n || len(tasks) != n || len(made) != n {
		p.t.Errorf("there are %d workers in the list, %d tasks for %d on the runtime; want %d", len(list), len(tasks), len(made), n)
	}
}

// bareCreates makes what a worker consists of by the runtime's own API, and returns how long each took.
func (s *system) bareCreates(number, atOnce int) []time.Duration {
	s.t.Helper()
	b := openBare(s.t, s.runtime)
	ctx := s.t.Context()
	took, errs := make([]time.Duration, number), make([]error, number)
	crowd(number, atOnce, func(i int) {
		name := fmt.Sprint("bare-", i)
		begin := time.Now()
		errs[i] = b.worker(ctx, name)
		took[i] = time.Since(begin)
	})
	crowd(number, atOnce, func(i int) {
		name := fmt.Sprint("bare-", i)
		if errs[i] == nil {
			errs[i] = b.removeWorker(ctx, name)
		}
		if errs[i] != nil {
			s.t.Errorf("by the bare API: %v", errs[i])
		}
	})
	if k, is := b.(bareKubernetes); is {
		if err := k.settle(ctx); err != nil {
			s.t.Error(err)
		}
	}
	return took
}

// busy wants a full queue to be told of, by another provisioner; and what is there not to need room.
func (p *process) busy(repository string) {
	p.t.Helper()
	other := p.provisioner("--limit=2", "--queue=1", "--rate=-1")
	defer other.stop()
	a, err := other.post(p.parameters(1_000_000, repository, "main"))
	if err != nil || a.status != http.StatusTooManyRequests || a.retryAfter == "" {
		p.t.Errorf("a full queue is told by %d, %v; %v", a.status, &a.problem, err)
	}
	if a, err = other.post(p.parameters(0, repository, "main")); err != nil || a.status != http.StatusOK {
		p.t.Errorf("a build that is there is answered by %d, %v; %v", a.status, &a.problem, err)
	}
}
