package watchdog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/provisioner"
)

// Watchdog compares. Run and Once are not to be called at the same time; Handler may be.
type Watchdog struct {
	cfg  Config
	log  hclog.Logger
	met  *counters
	now  func() time.Time
	wait func(context.Context, time.Duration) bool
	book ledger
	had  map[uint64]seen // the workers that builds had, of builds that are active

	instances map[string]bool // that had workers at any time

	mu   sync.Mutex
	last error // of the last round; errNone before the first
}

// seen is a worker as it was seen last.
type seen struct {
	id    string
	state provisioner.State
	at    time.Time
}

var errNone = errors.New("nobody has looked yet")

// New returns a watchdog that does nothing before Run or Once.
func New(cfg Config) (*Watchdog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	cfg.complete()
	w := &Watchdog{cfg: cfg, log: cfg.Log, met: newCounters(), now: time.Now, wait: pause, had: map[uint64]seen{}, instances: map[string]bool{}, last: errNone}
	w.book.most = cfg.Every
	return w, nil
}

// Run looks again and again until ctx ends, which ends what is under way too, and returns nil.
func (w *Watchdog) Run(ctx context.Context) error {
	w.log.Info("watching", "provisioners", len(w.cfg.Provisioners), "grace", w.cfg.Grace.String(), "every", w.cfg.Every.String(), "dry-run", w.cfg.DryRun)
	for {
		w.round(ctx)
		if !w.wait(ctx, w.cfg.Every) {
			return nil
		}
	}
}

// pause waits, and reports whether ctx has not ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// action is something to be ended.
type action struct {
	key    key
	sight  *sight
	build  sink.Build // of a build
	worker *worker    // of a worker
}

// outcome is what a round has come to.
type outcome struct {
	alone map[key]*sight // what is missing or unwanted
	ended []key          // what was ended, or would have been
	err   error          // why the round was not what it should be
}

// ErrHeld is the error of a round in which so much seemed to be wrong that nothing was done.
var ErrHeld = errors.New("nothing is done")

// round looks, and ends what is due.
func (w *Watchdog) round(ctx context.Context) (out outcome) {
	defer func() {
		if ctx.Err() == nil {
			w.finish(out.err)
		}
	}()
	v, err := w.look(ctx)
	if err != nil {
		w.book.fail()
		if ctx.Err() == nil {
			w.log.Warn("nobody knows what is missing; looking again", "error", err, "in", w.cfg.Every.String())
		}
		return outcome{err: err}
	}
	actions, missing, unwanted := w.compare(v)
	out.alone = w.book.of
	if out.err = w.doubt(v, missing, unwanted); out.err != nil && len(actions) > 0 && !w.cfg.Force {
		w.log.Error("nothing is done, since it is more likely that somebody is wrong; see what, or give --force if it is so", "error", out.err, "due", len(actions))
		return out
	}
	out.err = nil
	if most := w.cfg.Most; len(actions) > most {
		w.log.Warn("there is more to end than may be at once; the rest comes after the next look", "due", len(actions), "most", most)
		actions = actions[:most]
	}
	out.ended, out.err = w.act(ctx, actions)
	return out
}

// compare notes what is alone, and returns what of it is due, that of which it is known longest first, and behind all others what could not be ended before: it shall not keep them.
func (w *Watchdog) compare(v *view) (due []action, missing, unwanted int) {
	var alone []action
	had := map[uint64]seen{}
	for _, b := range v.builds {
		if one := v.workers.of(&b); one != nil {
			had[b.ID] = seen{one.ID, one.State, w.now()}
			continue
		}
		if before, ok := w.had[b.ID]; ok {
			had[b.ID] = before
		}
		missing++
		alone = append(alone, action{key: key{build: b.ID}, build: b})
	}
	w.had = had
	for _, one := range v.workers.all {
		if v.active[one.Build] {
			continue
		}
		unwanted++
		if !v.several {
			alone = append(alone, action{key: keyOf(&one.Worker), worker: one})
		}
	}
	keys := make([]key, len(alone))
	for i := range alone {
		keys[i] = alone[i].key
	}
	if v.several && unwanted > 0 {
		w.log.Warn("the workers are of several instances, so none is deleted; say with --instance which are those of this sink", "unwanted", unwanted)
	}
	now := w.now()
	w.book.note(now, keys)
	w.met.missing.Set(float64(missing))
	w.met.unwanted.Set(float64(unwanted))
	for _, a := range alone {
		a.sight = w.book.of[a.key]
		if a.sight.looks == 1 {
			w.log.Debug("something is alone", "build", a.key.build, "worker", a.key.worker)
		}
		if w.due(now, &a) {
			due = append(due, a)
		}
	}
	slices.SortFunc(due, func(a, b action) int {
		return cmp.Or(cmp.Compare(a.sight.tries, b.sight.tries), a.sight.first.Compare(b.sight.first), cmp.Compare(a.key.build, b.key.build))
	})
	return due, missing, unwanted
}

// due reports whether something has been alone for long enough.
func (w *Watchdog) due(now time.Time, a *action) bool {
	if a.worker != nil {
		return a.sight.due(w.cfg.Grace, leastLooks)
	}
	return a.sight.due(w.cfg.Grace, 1) && now.Sub(a.build.Scheduled) >= w.cfg.Grace // it may have been scheduled anew
}

// doubt returns why it is more likely that somebody is wrong than that all of this is alone, or nil.
func (w *Watchdog) doubt(v *view, missing, unwanted int) error {
	if missing > mostAtOnce && 2*missing > len(v.builds) {
		return fmt.Errorf("%w: %d of %d active builds have no worker; a provisioner may be missing in the settings, or have another owner on its runtime than it had", ErrHeld, missing, len(v.builds))
	}
	if all := len(v.workers.all); unwanted > mostAtOnce && 2*unwanted > all {
		return fmt.Errorf("%w: the builds of %d of %d workers are not active; this may be another sink than the one that has asked for them, or one that has lost builds", ErrHeld, unwanted, all)
	}
	return nil
}

// finish notes how a round has ended.
func (w *Watchdog) finish(err error) {
	w.mu.Lock()
	w.last = err
	w.mu.Unlock()
	w.met.round(err, w.now())
}

// Found is what [Watchdog.Once] has ended, or with Config.DryRun would have.
type Found struct{ Builds, Workers int }

// Once looks until it is decided of all that its first look sees alone: nothing is left to be decided where all is well, and it returns at once; else it takes the time of grace, if need be, and what
// comes up meanwhile is for the next time. An error says that somebody did not answer, or that something could not be ended; some may have been.
func (w *Watchdog) Once(ctx context.Context) (found Found, err error) {
	out := w.round(ctx)
	if out.alone == nil {
		return found, out.err
	}
	open := map[key]bool{}
	for k := range out.alone {
		open[k] = true
	}
	// Those that are answered bring it forward, however slow they are; a few more may fail.
	most := int(w.cfg.Grace/w.cfg.Every) + 10
	for looks := 1; ; looks++ {
		for k := range open {
			if out.alone != nil && out.alone[k] == nil {
				delete(open, k)
			}
		}
		for _, k := range out.ended {
			if !open[k] {
				continue
			}
			delete(open, k)
			if k.worker != "" {
				found.Workers++
			} else {
				found.Builds++
			}
		}
		switch {
		case len(open) == 0:
			return found, nil
		case errors.Is(out.err, ErrHeld):
			return found, out.err
		case looks >= most:
			return found, fmt.Errorf("%d builds or workers could not be decided by %d looks: %w", len(open), looks, cmp.Or(out.err, errOften))
		case !w.wait(ctx, w.cfg.Every):
			return found, context.Cause(ctx)
		}
		out = w.round(ctx)
	}
}

var errOften = errors.New("not all of them were answered, or a build was scheduled anew")
