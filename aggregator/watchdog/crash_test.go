package watchdog_test

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/provisioner"
)

// A watchdog that is killed between the line and the state leaves a build that the next one has fail, and that has one line. So does one whose writes fail in whatever way.
func TestCrash(t *testing.T) {
	for name, fault := range map[string]func(c wharfapitest.Call) wharfapitest.Fault{
		"between line and state": func(c wharfapitest.Call) (f wharfapitest.Fault) {
			if c.Kind == wharfapitest.PutStatus {
				f.Refuse = http.StatusInternalServerError
			}
			return f
		},
		"before the line": func(wharfapitest.Call) wharfapitest.Fault {
			return wharfapitest.Fault{Refuse: http.StatusServiceUnavailable}
		},
		"the answer to the line is lost": func(wharfapitest.Call) wharfapitest.Fault { return wharfapitest.Fault{Lose: true} },
		"cut behind the line": func(wharfapitest.Call) wharfapitest.Fault {
			return wharfapitest.Fault{CutAfter: 1, Refuse: 0, Lose: true}
		},
	} {
		for _, again := range []string{"again", "another one"} {
			t.Run(name+", "+again, func(t *testing.T) {
				w := newWorld(t, 1)
				w.api.Add(1)
				w.api.Change(1, func(b *wharfapitest.Build) {
					b.Lines, b.Count = append(b.Lines, wharfapitest.Line{Message: "it printed this"}), 1
				})
				dog := w.watchdog(nil)
				w.api.SetFault(fault)
				if err := w.watch(dog, grace); err == nil {
					t.Error("nothing has failed")
				}
				measures(t, dog, `action_errors_total{kind="fail_build"} 1`, `rounds_total{result="failed"} 1`)
				w.api.SetFault(nil)
				if again != "again" {
					dog = w.watchdog(nil)
				}
				if err := w.watch(dog, grace+every); err != nil {
					t.Error(err)
				}
				w.failed(1)
				if n := w.api.Build(1).Count; n != 2 {
					t.Errorf("it has %d lines", n)
				}
			})
		}
	}
}

// mischief makes most calls that write fail, in every way but to come late: what comes after a watchdog has asked nobody can know.
func mischief(r *rand.Rand) func(wharfapitest.Call) wharfapitest.Fault {
	var mu sync.Mutex
	return func(wharfapitest.Call) wharfapitest.Fault {
		mu.Lock()
		defer mu.Unlock()
		return []wharfapitest.Fault{{Refuse: 500}, {Lose: true}, {Status: 502}, {CutAfter: 1}, {}}[r.IntN(5)]
	}
}

// Whatever fails, and however often it is killed, there is one line.
func TestFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, 1)
	for id := range uint64(5) {
		w.api.Add(id + 1)
	}
	w.api.SetFault(mischief(r))
	for i := range 10 { // some have one try, some have more
		_ = w.watch(w.watchdog(nil), grace+time.Duration(i%3)*every)
	}
	w.api.SetFault(nil)
	if err := w.watch(w.watchdog(nil), grace); err != nil {
		t.Error(err)
	}
	for id := range uint64(5) {
		w.failed(id + 1)
	}
}

// plain is a sink whose reports cannot look for a line.
type plain struct{ sink.Sink }

type plainReport struct{ sink.Report }

func (p plain) Open(build uint64, turn sink.Turn) sink.Report {
	return plainReport{p.Sink.Open(build, turn)}
}

// Where the sink cannot look for a line, one process writes one all the same.
func TestPlainSink(t *testing.T) {
	w := newWorld(t, 1)
	w.api.Add(1)
	dog := w.watchdog(func(c *watchdog.Config) { c.Sink = plain{c.Sink} })
	w.api.SetFault(func(c wharfapitest.Call) (f wharfapitest.Fault) {
		if c.Kind == wharfapitest.PutStatus {
			f.Refuse = http.StatusBadGateway
		}
		return f
	})
	_ = w.watch(dog, 2*grace)
	w.api.SetFault(nil)
	if err := w.watch(dog, 0); err != nil {
		t.Error(err)
	}
	w.failed(1)
}

// What is well again between the look and what would be done is left alone.
func TestLookAgain(t *testing.T) {
	t.Run("a worker has come", func(t *testing.T) {
		w := newWorld(t, 1)
		w.api.Add(1)
		looks := int(grace/every) + 1
		w.places[0].listed = func(n int) {
			if n == looks+1 {
				w.places[0].add(1, provisioner.Queued)
			}
		}
		if err := w.watch(w.watchdog(nil), grace); err != nil || w.places[0].lists != looks+1 {
			t.Errorf("after %d lists: %v", w.places[0].lists, err)
		}
		w.untouched(1)
	})
	t.Run("the build has ended", func(t *testing.T) {
		w := newWorld(t, 1)
		w.api.Add(1)
		w.places[0].listed = func(n int) {
			if n == int(grace/every)+1 {
				w.api.Change(1, func(b *wharfapitest.Build) { b.Status = "Completed" })
			}
		}
		if err := w.watch(w.watchdog(nil), grace); err != nil {
			t.Error(err)
		}
		if b := w.api.Build(1); b.Count > 0 || b.Status != "Completed" {
			t.Errorf("it is %s, with %v", b.Status, b.Lines)
		}
	})
	t.Run("the worker is another", func(t *testing.T) {
		w := newWorld(t, 1)
		w.api.Add(1)
		id := w.places[0].add(2, provisioner.Running)
		w.places[0].listed = func(n int) {
			if n == int(grace/every)+2 {
				t.Error("a list too many")
			}
		}
		dog := w.watchdog(func(c *watchdog.Config) {
			c.Sink = &asked{Sink: c.Sink, then: func() { // it is made anew
				w.places[0].set(func(p *place) {
					one := p.workers[id]
					one.Created = time.Unix(1_800_000_000, 0)
					p.workers[id] = one
				})
			}}
		})
		w.places[0].add(1, provisioner.Running)
		if err := w.watch(dog, grace); err != nil || len(w.places[0].gone()) > 0 {
			t.Errorf("deleted are %v, %v", w.places[0].gone(), err)
		}
	})
}

// asked is a sink that does something when a build is opened.
type asked struct {
	sink.Sink
	then func()
}

func (a *asked) Open(build uint64, turn sink.Turn) sink.Report {
	a.then()
	return a.Sink.Open(build, turn)
}
