package aggregator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// Aggregator relays workers to a sink. Its methods may be called by many goroutines at once.
type Aggregator struct {
	cfg  Config
	log  hclog.Logger
	met  *counters
	tide *tide

	contact *contact
	fleet   fleet
	share   *share

	id      string        // names this one on the runtime
	ending  sync.Map      // the marks of workers whose builds' ends are being reported
	copying chan struct{} // a turn for each copy of what a worker has left
	dialing chan struct{} // a turn for each connection to a worker that is being made
	strange chan struct{} // has one when the runtime has told of a worker that is not known
	looking sync.Mutex    // one list at a time: an older one is never taken in after a newer one
}

// New returns an aggregator that does nothing before Run.
func New(cfg Config) (*Aggregator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("aggregator: %w", err)
	}
	cfg.complete()
	a := &Aggregator{cfg: cfg, log: cfg.Log, tide: newTide(), contact: newContact(), strange: make(chan struct{}, 1), copying: make(chan struct{}, copies), dialing: make(chan struct{}, dialsAtOnce), id: strings.ToLower(rand.Text()[:16])}
	a.fleet.err = errNotAsked
	a.share = newShare(cfg.Name, a.fleet.running, a.contact)
	a.fleet.byTask = map[driver.TaskID]*member{}
	a.met = newCounters(a)
	return a, nil
}

// Run relays until ctx ends. Then what is under way is finished as far as that takes no time, every claim is given back, so that another aggregator has it at once, and Run returns nil.
func (a *Aggregator) Run(ctx context.Context) error {
	var tending sync.WaitGroup
	defer tending.Wait()
	a.fleet.tend = func(m *member) { tending.Go(func() { a.tend(ctx, m) }) }
	sweepScratch(a.cfg.Scratch)
	a.log.Info("relaying", "name", a.cfg.Name)
	tending.Go(func() { a.meet(ctx) })
	tending.Go(func() { a.share.run(ctx) })
	tending.Go(func() { a.tidy(ctx) })
	tending.Go(func() { a.keepContact(ctx) })
	wait := backoff{}
	for {
		err := a.look(ctx)
		if err == nil {
			a.fleet.reach(nil)
			began := time.Now()
			err = driver.Events(ctx, a.cfg.Driver, workers, a.event)
			if time.Since(began) > mostDeaf {
				wait = backoff{}
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		a.fleet.reach(err)
		a.log.Warn("the runtime does not tell what happens", "error", err)
		if !pause(ctx, wait.next(mostDeaf)) {
			return nil
		}
	}
}

// mostDeaf is how long the runtime is left alone, at most, after it has stopped telling what happens.
const mostDeaf = 10 * time.Second

// errNotAsked is why it is not known what there is.
var errNotAsked = errors.New("it has not been asked yet")

// workers selects the workers among what the provisioner's owner has.
var workers = driver.ListOptions{Labels: map[string]string{provisioner.LabelRole: provisioner.RoleWorker}}

// look takes in all workers that there are.
func (a *Aggregator) look(ctx context.Context) error {
	a.looking.Lock()
	defer a.looking.Unlock()
	asked := time.Now()
	tasks, err := a.cfg.Driver.List(ctx, workers)
	if err != nil {
		return err
	}
	a.fleet.reconcile(tasks, asked, a.mine)
	return nil
}

// mine reports whether the builds of an instance are relayed.
func (a *Aggregator) mine(w *provisioner.Worker) bool {
	return len(a.cfg.Instances) == 0 || slices.Contains(a.cfg.Instances, w.Instance)
}

// event takes in what the runtime tells of one task. Of one that is new it tells no labels: they are asked for.
func (a *Aggregator) event(ev driver.Event) error {
	if !a.fleet.changed(ev) && !ev.Removed {
		signal(a.strange)
	}
	return nil
}

// How long a strange worker waits for others that come with it, and how often all workers are asked for besides, so that an event that was lost does no harm for long.
const (
	meetTime   = 100 * time.Millisecond
	againEvery = time.Minute
)

// tidyEvery is how often it is looked for what aggregators have left that died.
const tidyEvery = 10 * time.Second

// tidy finishes what others have begun who died over it.
func (a *Aggregator) tidy(ctx context.Context) {
	for pause(ctx, tidyEvery) {
		if a.fleet.reachable() != nil {
			continue
		}
		if err := a.abandoned(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("what others have begun is not known", "error", err)
		}
	}
}

// meet takes in workers that are new.
func (a *Aggregator) meet(ctx context.Context) {
	again := time.NewTicker(againEvery)
	defer again.Stop()
	wait := backoff{}
	for {
		select {
		case <-a.strange:
			if !pause(ctx, meetTime) {
				return
			}
		case <-again.C:
		case <-ctx.Done():
			return
		}
		for err := a.look(ctx); err != nil; err = a.look(ctx) {
			if ctx.Err() == nil {
				a.fleet.reach(err)
				a.log.Warn("the workers could not be listed; trying again", "error", err)
			}
			if !pause(ctx, wait.next(10*time.Second)) {
				return
			}
		}
		a.fleet.reach(nil)
		wait = backoff{}
	}
}
