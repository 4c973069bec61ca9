package watchdog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/provisioner"
)

// Once returns at once if all is well, and else says what it has found.
func TestOnce(t *testing.T) {
	w := newWorld(t, 1)
	w.api.Add(1)
	w.places[0].add(1, provisioner.Running)
	began := w.clock
	if found, err := w.watchdog(nil).Once(t.Context()); found != (watchdog.Found{}) || err != nil || !w.clock.Equal(began) {
		t.Errorf("where all is well it finds %+v after %s, %v", found, w.clock.Sub(began), err)
	}
	w.api.Add(2)
	w.api.Add(3)
	w.places[0].add(4, provisioner.Running)
	w.places[0].set(func(p *place) {
		p.listed = func(n int) {
			switch n {
			case 3: // one is well in time
				p.add(3, provisioner.Queued)
			case 5: // and one comes up, which is for the next time
				w.api.Add(5)
			}
		}
	})
	found, err := w.watchdog(nil).Once(t.Context())
	if want := (watchdog.Found{Builds: 1, Workers: 1}); found != want || err != nil {
		t.Errorf("it finds %+v, %v", found, err)
	}
	w.failed(2)
	w.untouched(1, 3, 5)
	if took := w.clock.Sub(began); took != grace {
		t.Errorf("it takes %s", took)
	}
	found, err = w.watchdog(func(c *watchdog.Config) { c.DryRun = true }).Once(t.Context())
	if want := (watchdog.Found{Builds: 1}); found != want || err != nil {
		t.Errorf("a dry run finds %+v, %v", found, err)
	}
	w.untouched(5)
}

// busy is a sink that takes a minute for each list, and that fails to answer now and then.
type busy struct {
	sink.Sink
	w     *world
	looks int
}

func (b *busy) Active(ctx context.Context) ([]sink.Build, error) {
	b.looks++
	b.w.clock = b.w.clock.Add(time.Minute)
	if b.looks == 4 || b.looks == 7 {
		return nil, errors.New("it is busy")
	}
	return b.Sink.Active(ctx)
}

// A look that fails now and then does not keep Once from its end, nor do looks that take long.
func TestOnceSlowly(t *testing.T) {
	w := newWorld(t, 1)
	w.api.Add(1)
	slow := &busy{w: w}
	dog := w.watchdog(func(c *watchdog.Config) { slow.Sink, c.Sink = c.Sink, slow })
	found, err := dog.Once(t.Context())
	if want := (watchdog.Found{Builds: 1}); found != want || err != nil || slow.looks != 11+2+2 { // for each that fails one does not count
		t.Errorf("it finds %+v after %d looks, %v", found, slow.looks, err)
	}
	w.failed(1)
}

// Once says what keeps it from knowing.
func TestOnceTrouble(t *testing.T) {
	w := newWorld(t, 1)
	w.places[0].set(func(p *place) { p.down = true })
	if _, err := w.watchdog(nil).Once(t.Context()); err == nil || !strings.Contains(err.Error(), "a provisioner does not say") {
		t.Errorf("without a provisioner: %v", err)
	}
	w.places[0].set(func(p *place) { p.down = false })
	w.api.Add(1)
	w.api.SetFault(func(wharfapitest.Call) wharfapitest.Fault { return wharfapitest.Fault{Refuse: 500} })
	if found, err := w.watchdog(nil).Once(t.Context()); found.Builds > 0 || err == nil || !strings.Contains(err.Error(), "1 builds or workers could not be decided by 20 looks: build 1: its line") {
		t.Errorf("where nothing can be written it finds %+v, %v", found, err)
	}
	w.api.SetFault(nil)
	for id := range uint64(6) {
		w.api.Add(id + 1)
	}
	if _, err := w.watchdog(nil).Once(t.Context()); !errors.Is(err, watchdog.ErrHeld) {
		t.Errorf("where everything is missing: %v", err)
	}
	for id := range uint64(6) {
		w.untouched(id + 1)
	}
}

// Run ends when it is told to, also while somebody does not answer.
func TestRunEnds(t *testing.T) {
	w := newWorld(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	hang, asked := make(chan struct{}), make(chan struct{}, 1)
	defer close(hang)
	w.places[0].listed = func(int) {
		asked <- struct{}{}
		<-hang
	}
	dog := w.watchdog(nil)
	ended := make(chan error)
	go func() { ended <- dog.Run(ctx) }()
	<-asked
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	measures(t, dog, `rounds_total{result="provisioner"} 0`)
}

// A configuration that cannot be meant is refused, with everything that is wrong with it.
func TestConfig(t *testing.T) {
	_, err := watchdog.New(watchdog.Config{Grace: -1})
	for _, want := range []string{"Sink is missing", "Provisioners is empty", "Grace, Every and Most must not be negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v; want %q", err, want)
		}
	}
}
