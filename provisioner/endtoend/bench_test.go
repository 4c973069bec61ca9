package endtoend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	workerclient "github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// BenchmarkTrigger takes the time from a trigger to the first line of the build's first step, and that of the naive floor: by the runtime's API alone, a container of the same image
// that runs "git clone" of the same repository to its end, one of it that stays, as the worker does, and one that is the step. Both take turns; the medians and their ratio are
// reported, and where the time of ours goes is logged.
func BenchmarkTrigger(b *testing.B) {
	s := prepare(b)
	p := s.provisioner("--rate=-1", "--grace=1s")
	b.Cleanup(s.empty)
	d := newDesk(b, nil)
	s.repository("bench", "main", d.definition())
	floor := openBare(b, s.runtime)
	var floors, ours []time.Duration
	parts := map[string][]time.Duration{}
	for i := 1; b.Loop(); i++ {
		floors = append(floors, s.floor(floor, d, -i))
		ours = append(ours, p.toFirstStep(d, i, parts))
	}
	b.ReportMetric(at(floors, 0.5).Seconds(), "floor-s")
	b.ReportMetric(at(ours, 0.5).Seconds(), "ours-s")
	b.ReportMetric(at(ours, 0.5).Seconds()/at(floors, 0.5).Seconds(), "ratio")
	names := slices.SortedFunc(maps.Keys(parts), func(x, y string) int { return cmp.Compare(at(parts[x], 0.5), at(parts[y], 0.5)) })
	for _, name := range names {
		b.Logf("%8v  %s", at(parts[name], 0.5).Round(time.Millisecond), name)
	}
}

// floor does by hand what a trigger leads to.
func (s *system) floor(r bare, d *desk, build int) time.Duration {
	s.t.Helper()
	ctx := s.t.Context()
	name := fmt.Sprint("floor", build)
	clone := []string{"git", "clone", "--quiet", "--depth=1", "--branch=main", strings.Replace(s.git, "://", "://x:"+gitToken+"@", 1) + "/bench.git", "/work/repository"}
	begin := time.Now()
	err := first(
		func() error { return r.launch(ctx, name, clone, []string{"sleep", "1000"}) },
		func() error {
			return r.create(ctx, name+"-step", stepImage, name, "wget", "-q", "-O", "/dev/null", fmt.Sprintf("%s/begin/%d", d.url, build))
		},
		func() error { return r.start(ctx, name+"-step") },
		func() error { return d.await(ctx, func(d *desk) bool { return d.begun[build] > 0 }) })
	took := time.Since(begin)
	if err == nil {
		err = first(func() error { return r.remove(ctx, name+"-step") }, func() error { return r.removeWorker(ctx, name) })
	}
	if err != nil {
		s.t.Fatalf("the floor: %v", err)
	}
	return took
}

// toFirstStep triggers a build, waits for its step, and notes how long each part took.
func (p *process) toFirstStep(d *desk, build int, parts map[string][]time.Duration) time.Duration {
	p.t.Helper()
	begin := time.Now()
	w := p.trigger(build, "bench", "main")
	answered := time.Now()
	if err := d.await(p.t.Context(), func(d *desk) bool { return d.begun[build] > 0 }); err != nil {
		p.t.Fatal(err)
	}
	there := time.Now()
	p.parts(w.ID, begin, answered, there, parts)
	if err := p.client.Delete(p.t.Context(), w.ID); err != nil {
		p.t.Fatal(err)
	}
	return there.Sub(begin)
}

// parts adds how long after the trigger each thing happened, by the worker's history and journal.
func (p *process) parts(id string, begin, answered, there time.Time, parts map[string][]time.Duration) {
	p.t.Helper()
	type moment struct {
		name string
		time time.Time
	}
	moments := []moment{{"the trigger is answered", answered}, {"the step's first words", there}}
	w, err := p.client.Worker(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, change := range w.History {
		moments = append(moments, moment{fmt.Sprintf("the worker is %s", change.State), change.Time})
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for e, err := range p.dial(id).Events(ctx, workerclient.ReadOptions{}) {
		if err != nil {
			p.t.Fatal(err)
		}
		if e.Kind == journal.KindBuild || e.Kind == journal.KindStep {
			moments = append(moments, moment{fmt.Sprintf("the journal has %s %s", e.Kind, e.State), e.Time})
		}
	}
	for _, m := range moments {
		parts[m.name] = append(parts[m.name], m.time.Sub(begin))
	}
}
