package aggregator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// claimTime is how long who had the claim of a worker may act on it after that has ended: the lease that a worker grants.
const claimTime = 3 * time.Second

// verdict says at the sink how a build has ended whose worker cannot any more.
type verdict struct {
	*Aggregator
	m     *member
	t     *tending
	seen  time.Time // when it was seen to have ended
	found *autopsy
	turn  *turn

	failing time.Time // since when the runtime does not make the copy
}

// conclude sees to it that the sink knows how a worker's build has ended, and removes the worker. It returns when that is done, by whomever.
func (a *Aggregator) conclude(ctx context.Context, m *member, t *tending) {
	if _, busy := a.ending.LoadOrStore(m.mark, true); busy {
		return
	}
	defer a.ending.Delete(m.mark)
	v := &verdict{Aggregator: a, m: m, t: t, seen: time.Now(), turn: &turn{a: a, m: m}}
	wait := backoff{}
	for !t.done && ctx.Err() == nil {
		err := v.reach(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		next := wait.next(mostPause)
		a.log.Warn("how a build has ended whose worker cannot say it is not reported yet; trying again", "worker", m.worker.ID, "build", m.worker.Build, "error", err, "in", next.Round(time.Millisecond).String())
		if errors.As(err, new(sinkError)) {
			a.tide.fall(err)
		}
		a.tide.wait(ctx, next)
	}
}

// reach reports it, unless another does, or there is nothing to report.
func (v *verdict) reach(ctx context.Context) (err error) {
	if v.found == nil {
		if v.found, err = v.examine(ctx, v.m); err != nil {
			return err
		}
		if v.t.unstarted != "" {
			v.found.refusal = v.t.unstarted
		}
	}
	if v.found.released || v.fleet.again(v.m) {
		return nil // by whoever had the claim; or the build is being built again
	}
	if err := v.cfg.Sink.Ready(ctx); err != nil { // nothing is copied, and no turn taken, that can lead to nothing
		v.failing = time.Time{}
		return ofSink(err)
	}
	c := v.copy(ctx)
	defer c.stop()
	ran := !v.found.never() && (v.found.gone || !v.m.startedAt().IsZero() || !v.found.result.Started.IsZero())
	own := time.Now().Before(v.t.until()) // nobody else can have had the claim since
	if ran && !own && !pause(ctx, claimTime-time.Since(v.seen)) {
		return context.Cause(ctx)
	}
	left, err := v.copied(ctx, c)
	if err != nil { // it is tried again: what the worker has left is there once, and goes with it
		return fmt.Errorf("what the worker has left cannot be copied: %w", err)
	}
	over := false
	first, err := v.turn.take(ctx, func() bool {
		_, removed, _ := v.m.now()
		over = removed && !v.found.gone
		return over
	})
	if err != nil || over { // who had the turn has removed the worker, so it is done
		return err
	}
	held, stop := context.WithCancel(ctx)
	defer stop()
	renew := newRenewer(v.turn)
	go renew.run(held)
	done, err := renew.use(ctx)
	if err != nil {
		return err
	}
	defer done()
	if v.fleet.again(v.m) {
		return v.turn.end(ctx)
	}
	if err := v.gone(ctx); err != nil { // somebody may have said it, and removed the worker, meanwhile
		return err
	}
	if !own || !first {
		v.t.drop()
	}
	v.t.hold(v.turn)
	if v.t.report == nil {
		v.t.report = v.cfg.Sink.Open(v.m.worker.Build, sink.Turn{Fence: v.t.until, Clean: first && !ran})
	}
	now, err := v.t.report.Status(ctx)
	if err != nil {
		return ofSink(err)
	}
	if now.Final() && (!first || v.found.gone || v.t.relayed) { // whoever had the turn has said it, or whoever had the claim
		return v.clear(ctx)
	}
	done()
	return v.pronounce(ctx, left)
}

// copied waits for the copy. Of a worker that has been removed there may be nothing to copy any more: what has not begun a while later is not waited for.
func (v *verdict) copied(ctx context.Context, c *copying) (*remains, error) {
	late := make(<-chan time.Time)
	for waiting := false; ; {
		_, removed, changed := v.m.now()
		if removed {
			changed = nil
		}
		if removed && !waiting {
			t := time.NewTimer(goneTime)
			defer t.Stop()
			waiting, late = true, t.C
		}
		select {
		case <-c.done:
			if c.err != nil && removed {
				return &remains{damage: c.err}, nil
			}
			return c.remains, c.err
		case <-changed:
		case <-late:
			select {
			case <-c.begun:
				late = nil
				continue
			default:
			}
			c.stop()
			return &remains{damage: errors.New("its volume could not be read in time")}, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// copying is a copy of what a worker has left, under way.
type copying struct {
	cancel      context.CancelFunc
	begun, done chan struct{} // closed
	remains     *remains
	err         error
}

// stop ends it, and removes what there is.
func (c *copying) stop() {
	c.cancel()
	<-c.done
	if c.remains != nil {
		c.remains.remove()
	}
}

// copy begins to copy what a worker has left.
func (v *verdict) copy(ctx context.Context) *copying {
	ctx, cancel := context.WithCancel(ctx)
	c := &copying{cancel: cancel, begun: make(chan struct{}), done: make(chan struct{})}
	if v.found.gone || v.t.relayed || v.found.never() {
		c.remains = &remains{}
		close(c.done)
		return c
	}
	go func() {
		defer close(c.done)
		c.remains, c.err = v.recover(ctx, v.m, sync.OnceFunc(func() { close(c.begun) }))
		most := mostCopying
		if errors.As(c.err, new(*fs.PathError)) { // of this machine's own disk: another aggregator may do better
			most = mostCopyingHere
		}
		switch {
		case c.err == nil:
			v.failing = time.Time{}
		case ctx.Err() != nil:
		case v.failing.IsZero():
			v.failing = time.Now()
		case time.Since(v.failing) > most:
			c.remains, c.err = &remains{damage: c.err}, nil
		}
	}()
	return c
}

// goneTime is how long a copy has to begin when the worker has been removed meanwhile.
const goneTime = 5 * time.Second

// How long a copy of what a worker has left may take to go on, and how long it may fail, for the runtime or for this machine's disk, before the build's end is said without it.
const (
	copyBound       = 2 * time.Minute
	mostCopying     = 10 * time.Minute
	mostCopyingHere = time.Hour
)

// gone looks whether the worker is still there.
func (v *verdict) gone(ctx context.Context) error {
	if v.found.gone {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	_, err := v.cfg.Driver.Wait(ctx, v.m.task.ID)
	v.found.gone = errdefs.IsNotFound(err)
	if v.found.gone {
		return nil
	}
	return err
}

// pronounce relays what is left of the journal, and says how the build has ended.
func (v *verdict) pronounce(ctx context.Context, left *remains) error {
	v.log.Warn("a worker has ended before its build was relayed", "worker", v.m.worker.ID, "build", v.m.worker.Build, "result", v.found.result, "removed", v.found.gone)
	r := &relay{
		a: v.Aggregator, m: v.m, t: v.t, source: left, renew: newRenewer(v.turn), taken: func(uint64, bool) {},
		over: func() []string {
			words := v.found.words(v.m)
			if left.damage != nil {
				words = append(words, shortened(fmt.Sprintf("what the build printed last may be missing here: %v", left.damage)))
			}
			return words
		},
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	v.met.verdicts.Inc()
	return v.clear(ctx)
}

// removeBound is how long it may take to remove a worker.
const removeBound = time.Minute

// clear removes the worker, and what stands for the turn last: as long as that is there, what is left of the worker is known to be reported. It tries on for a while, also when the aggregator is to end:
// a runtime may not remove a volume in the moment in which its task goes.
func (v *verdict) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeBound)
	defer cancel()
	wait := backoff{}
	for {
		err := v.clearOnce(ctx)
		if err == nil || !pause(ctx, wait.next(5*time.Second)) {
			return err
		}
	}
}

func (v *verdict) clearOnce(ctx context.Context) error {
	d := v.cfg.Driver
	if id := v.m.task.ID; id != "" {
		if err := d.Remove(ctx, id); err != nil {
			return err
		}
	}
	if volume := provisioner.VolumeOf(v.m.task); volume != "" {
		if err := d.RemoveVolume(ctx, volume); err != nil {
			return err
		}
	}
	return v.turn.end(ctx)
}

// abandoned finishes what others have begun who died over it: turns of workers that are not there any more.
func (a *Aggregator) abandoned(ctx context.Context) error {
	all, err := a.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: map[string]string{provisioner.LabelRole: provisioner.RoleVerdict}})
	if err != nil || len(all) == 0 {
		return err
	}
	if err := a.look(ctx); err != nil { // whose volume there is and who is not there now has gone
		return err
	}
	there, begun := a.fleet.marks(), map[string]bool{}
	for _, v := range all {
		mark := v.Labels[provisioner.LabelTask]
		w := provisioner.Worker{ID: v.Labels[provisioner.LabelWorker], Instance: v.Labels[provisioner.LabelInstance]}
		w.Build, _ = strconv.ParseUint(v.Labels[provisioner.LabelBuild], 10, 64)
		if there[mark] || begun[mark] || w.Build == 0 || !a.mine(&w) {
			continue
		}
		begun[mark] = true
		m := &member{mark: mark, worker: w, mine: true, state: driver.StateEnded, removed: true, changed: make(chan struct{}), started: time.Now(), passing: make(chan string, 1)}
		a.log.Info("finishing what another has begun", "worker", w.ID, "build", w.Build)
		t := &tending{}
		a.conclude(ctx, m, t)
		t.drop()
	}
	return nil
}
