package watchdog_test

import (
	"context"
	"slices"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/provisioner"
)

// A build is missing only if no provisioner has it; a worker that two have is deleted once.
func TestSeveralProvisioners(t *testing.T) {
	w := newWorld(t, 3)
	w.api.Add(1)
	w.places[2].add(1, provisioner.Running)
	shared := w.places[0].add(2, provisioner.Running)
	w.places[1].add(2, provisioner.Running)
	dog := w.watchdog(nil)
	w.places[0].set(func(p *place) {
		p.listed = func(int) { // the runtime is one
			w.places[1].set(func(other *place) {
				if len(w.places[0].gone()) > 0 {
					delete(other.workers, shared)
				}
			})
		}
	})
	if err := w.watch(dog, grace); err != nil {
		t.Fatal(err)
	}
	w.untouched(1)
	if one, two, three := w.places[0].gone(), w.places[1].gone(), w.places[2].gone(); len(one) != 1 || len(two) > 1 || len(three) > 0 {
		t.Errorf("deleted are %v, %v, %v", one, two, three)
	}
	w.places[2].set(func(p *place) { p.down = true })
	if err := w.watch(dog, 2*grace); err == nil {
		t.Error("one of three is down, and nobody says so")
	}
	w.untouched(1)
}

// Workers of other instances, and builds of other engines, are none of ours.
func TestOthers(t *testing.T) {
	w := newWorld(t, 1)
	w.api.Add(1)
	w.api.Add(2)
	w.api.Change(2, func(b *wharfapitest.Build) { b.Engine = "jenkins" })
	w.api.Add(3)
	w.api.Change(3, func(b *wharfapitest.Build) { b.Engine = "wharf" })
	w.places[0].addOf("other", 3, provisioner.Running)
	foreign, own := w.places[0].addOf("other", 8, provisioner.Running), w.places[0].addOf("ours", 9, provisioner.Running)
	unsaid := w.watchdog(func(c *watchdog.Config) { c.Engines = []string{"none"} })
	if err := w.watch(unsaid, 2*grace); err != nil || len(w.places[0].gone()) > 0 {
		t.Errorf("of several instances are deleted %v, %v", w.places[0].gone(), err)
	}
	w.untouched(1, 2, 3)
	w.places[0].remove(own)
	if err := w.watch(unsaid, 2*grace); err != nil || len(w.places[0].gone()) > 0 {
		t.Errorf("when those of one have ended, of the others are deleted %v, %v", w.places[0].gone(), err)
	}
	w.places[0].addOf("ours", 9, provisioner.Running)
	dog := w.watchdog(func(c *watchdog.Config) { c.Instances, c.Engines = []string{"ours"}, []string{"wharf"} })
	if err := w.watch(dog, grace); err != nil {
		t.Fatal(err)
	}
	if got := w.places[0].gone(); !slices.Equal(got, []string{own}) {
		t.Errorf("deleted are %v; %s is another's", got, foreign)
	}
	w.untouched(1, 2)
	w.failed(3)
}

// paged is a sink whose list misses a build now and then, as one in pages does.
type paged struct {
	sink.Sink
	looks int
	miss  func(look int) bool
	both  bool // a look at one build misses it too
}

func (p *paged) Active(ctx context.Context) ([]sink.Build, error) {
	p.looks++
	all, err := p.Sink.Active(ctx)
	if p.miss(p.looks) {
		all = nil
	}
	return all, err
}

func (p *paged) Open(build uint64, turn sink.Turn) sink.Report {
	r := p.Sink.Open(build, turn)
	if p.both {
		return missed{r}
	}
	return r
}

type missed struct{ sink.Report }

func (missed) Status(context.Context) (sink.Status, error) { return sink.Ended, nil }

// A build that a list misses keeps its worker: it has to be missed three times in a row, and once more by a look of its own.
func TestPages(t *testing.T) {
	for name, c := range map[string]*paged{
		"twice in a row":                  {miss: func(look int) bool { return look%3 != 0 }, both: true},
		"always but at a look of its own": {miss: func(int) bool { return true }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.api.Add(1)
			w.places[0].add(1, provisioner.Running)
			dog := w.watchdog(func(cfg *watchdog.Config) {
				c.Sink, cfg.Sink, cfg.Grace = cfg.Sink, c, every // for which two looks would do
			})
			if err := w.watch(dog, 2*grace); err != nil {
				t.Fatal(err)
			}
			if got := w.places[0].gone(); len(got) > 0 {
				t.Errorf("deleted are %v", got)
			}
		})
	}
}
