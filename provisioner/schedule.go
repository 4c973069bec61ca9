package provisioner

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// round is one look at the queue.
type round struct {
	p      *Provisioner
	now    time.Time
	live   []candidate
	byMark map[string]*candidate
	dead   map[string]bool   // tasks that have ended, or were removed
	theirs map[string]bool   // tasks that another provisioner is starting
	stale  map[string][]slot // of tasks that another provisioner was to start long ago
	halted map[string][]slot // of tasks whose start another provisioner has begun, and has not done for a while
	usage  usage
}

// schedule gives back the slots of those that have ended, and starts whose turn it is. It asks for the slots once, and once more when it has taken some.
func (p *Provisioner) schedule(ctx context.Context) error {
	p.last = nil
	slots, err := p.slots(ctx)
	if err != nil {
		return err
	}
	r := p.newRound()
	if r.strange(slots) {
		if err := p.ask(ctx); err != nil {
			return err
		}
		r = p.newRound()
	}
	r.look(slots)
	for mark, held := range r.halted {
		p.begin(r.byMark[mark], held)
	}
	wanted := r.choose()
	p.last = r
	switch wait := time.Until(p.pausing); {
	case len(wanted) == 0:
		if p.crowded > 0 && len(r.theirs) > 0 { // who gave way too may not have given its slots back yet, and nothing tells of that
			time.AfterFunc(pauseOf(p.crowded), p.poke)
		}
		return nil
	case wait > 0: // whoever set it has the queue looked at then
		return nil
	case p.crowded > 0 && len(wanted) > few: // of many slots at once some would meet the other's again
		wanted = wanted[:few]
		defer p.poke()
	}
	return r.start(ctx, wanted)
}

// few is how many workers are started at once by one that has just given way to another provisioner.
const few = 4

// pauseOf is how long one waits that has given way so often in a row: whoever else did will not try at the same moment.
func pauseOf(crowded int) time.Duration {
	return 10*time.Millisecond + rand.N(100*time.Millisecond<<min(crowded, 4))
}

// full reports whether those that have come since the last round have to wait, by what was known then, and tells all where they stand. Who has come makes no room, so nobody needs
// to ask the runtime, which takes long where it has the volumes of many workers.
func (p *Provisioner) full() bool {
	if p.last == nil {
		return false
	}
	r := p.newRound()
	r.usage, r.theirs = p.last.usage, p.last.theirs
	return len(r.choose()) == 0
}

func (p *Provisioner) newRound() *round {
	r := &round{p: p, now: time.Now(), byMark: map[string]*candidate{}, theirs: map[string]bool{}, stale: map[string][]slot{}, halted: map[string][]slot{}, usage: usage{}}
	starting := map[driver.TaskID]bool{} // before the fleet is asked: whoever ends to be starting is known there as started
	p.starting.Range(func(id, _ any) bool {
		starting[id.(driver.TaskID)] = true
		return true
	})
	r.live, r.dead = p.fleet.census()
	for i := range r.live {
		c := &r.live[i]
		c.started = c.started || starting[c.task]
		c.halfway = c.halfway && !starting[c.task]
		r.byMark[c.mark] = c
	}
	return r
}

// strange reports whether there is a slot that the fleet does not explain: another provisioner has just made its worker, or it was removed, or is not started for long.
func (r *round) strange(slots []slot) bool {
	for _, s := range slots {
		since, known := r.p.seen[s.id]
		if known && r.now.Sub(since) >= patience || !known && r.byMark[s.task] == nil && !r.dead[s.task] {
			return true
		}
	}
	return false
}

// look counts who holds slots, and gives back those of the dead.
func (r *round) look(slots []slot) {
	p := r.p
	p.forget(slots)
	for i := range r.live {
		if c := &r.live[i]; c.started { // also if somebody has removed its slots
			r.usage.count(c)
		}
	}
	for _, s := range slots {
		c := r.byMark[s.task]
		switch {
		case r.dead[s.task], c == nil && p.age(s.id, r.now) >= patience: // or its task was removed long ago
			p.free(s)
			continue
		case c == nil:
		case c.halfway: // some runtimes need somebody who goes on when the clone is done, and who began may have died; what is done is not done again
			if p.age(s.id, r.now) >= patience+p.lag {
				r.halted[s.task] = append(r.halted[s.task], s)
			}
		case c.started:
			delete(p.seen, s.id)
		case s.by == p.id: // a round before could not start it
			p.free(s)
			continue
		case p.age(s.id, r.now) < patience:
			r.theirs[s.task] = true
		case p.age(s.id, r.now) >= abandoned:
			r.stale[s.task] = append(r.stale[s.task], s)
		}
		r.usage.add(s.limit, s.task)
	}
}

// choose returns those that come next as far as there is room, and tells the others where they stand.
func (r *round) choose() []*candidate {
	running := map[string]int{}
	var queue []waiting
	byID := map[string]*candidate{}
	for i := range r.live {
		c := &r.live[i]
		switch {
		case c.started || r.theirs[c.mark]:
			running[c.project]++
		case c.state == driver.StateCreated:
			queue = append(queue, waiting{c.id, c.project, c.priority, c.created})
			byID[c.id] = c
		}
	}
	var wanted []*candidate
	var left []waiting
	reasons := map[string]string{}
	words := map[string]string{} // of each limit
	for _, next := range arrange(queue, running) {
		c := byID[next.id]
		l := r.usage.full(c)
		if l == nil {
			r.usage.count(c)
			wanted = append(wanted, c)
			continue
		}
		for _, s := range r.stale[c.mark] {
			r.p.log.Warn("a worker was not started by the provisioner that was to; it goes back into the queue", "worker", c.id)
			r.p.free(s)
			r.p.poke()
		}
		if words[l.name] == "" {
			words[l.name] = strconv.Itoa(l.most) + " " + l.what + ", which is the limit"
		}
		left = append(left, next)
		reasons[next.id] = words[l.name]
	}
	r.p.fleet.place(left, reasons)
	return wanted
}

// start takes slots for some workers, looks whether there is room for them indeed, and starts those for which there is.
func (r *round) start(ctx context.Context, wanted []*candidate) error {
	p := r.p
	mine := map[string][]slot{} // of each worker
	giveBack := func(c *candidate) {
		for _, s := range mine[c.mark] {
			p.free(s)
		}
	}
	var failed error
	for i, c := range wanted {
		if mine[c.mark], failed = p.take(ctx, c); failed != nil {
			giveBack(c)
			wanted = wanted[:i] // what was taken so far is still good
			break
		}
	}
	slots, err := p.slots(ctx)
	if err != nil {
		for _, c := range wanted {
			giveBack(c)
		}
		return errors.Join(failed, err)
	}
	now, there, rivals := r.others(slots, mine)
	crowded, began := false, false
	for _, c := range wanted {
		if there[c.mark] != len(c.limits) || rivals[c.mark] || now.full(c) != nil { // another provisioner was faster, or is as fast
			giveBack(c)
			crowded = true
			continue
		}
		now.count(c)
		p.begin(c, mine[c.mark])
		began = true
	}
	if began || !crowded {
		p.crowded = 0
	}
	if crowded {
		p.crowded++
		wait := pauseOf(p.crowded)
		p.pausing = time.Now().Add(wait)
		time.AfterFunc(wait, p.poke)
	}
	return failed
}

// others counts who runs or holds slots, but for those that were just taken here; of these it returns how many are there. A slot of which it is not known whose it is counts. Rivals are
// workers that another provisioner has just taken slots of too: two that start one at the same moment would each see the other's half-done work.
func (r *round) others(slots []slot, mine map[string][]slot) (u usage, there map[string]int, rivals map[string]bool) {
	u, there, rivals = usage{}, map[string]int{}, map[string]bool{}
	now := time.Now() // taking the slots may have lasted
	for i := range r.live {
		if c := &r.live[i]; c.started {
			u.count(c)
		}
	}
	for _, s := range slots {
		switch {
		case slices.ContainsFunc(mine[s.task], func(m slot) bool { return m.id == s.id }):
			there[s.task]++
		case !r.dead[s.task]:
			u.add(s.limit, s.task)
			if len(mine[s.task]) > 0 && s.by != r.p.id && r.p.age(s.id, now) < patience { // else it may be dead
				rivals[s.task] = true
			}
		}
	}
	return u, there, rivals
}

// begin starts a worker in the background, unless this value does so already.
func (p *Provisioner) begin(c *candidate, slots []slot) {
	if _, already := p.starting.LoadOrStore(c.task, true); already {
		return
	}
	task, id := c.task, c.id
	p.spawn(func() {
		defer p.poke()
		defer p.starting.Delete(task)
		p.start(task, id, slots)
	})
}

// startBound is how long a start may take besides the clone, which it waits for.
const startBound = 15 * time.Minute

// start starts a worker; a runtime that is away is waited for. One that cannot be started is ended, so that its slots are free.
func (p *Provisioner) start(task driver.TaskID, id string, slots []slot) {
	p.log.Info("starting", "worker", id)
	wait := backoff{}
	for looked := time.Now(); ; {
		err := p.holdsStill(slots, &looked)
		if err == nil {
			ctx, cancel := within(p.ctx, p.cfg.Clone.Timeout+startBound)
			err = p.cfg.Driver.Start(ctx, task)
			cancel()
		}
		switch {
		case err == nil:
			p.fleet.begun(task)
			p.attend(task)
			return
		case p.ctx.Err() != nil, p.fleet.doomed(id):
			return
		case errors.Is(err, errSuperseded):
			p.log.Warn("another provisioner starts a worker that could not be started here", "worker", id)
			return
		case errdefs.IsNotFound(err): // nothing has told of its removal
			var stands bool
			if stands, err = p.stands(p.ctx, id, task); err == nil && stands {
				err = p.refuse(task, id, errors.New("the runtime does not find it, and lists it"))
			} else if err == nil {
				p.fleet.removed(task)
			}
			if err == nil {
				return
			}
		case !errdefs.IsUnavailable(err) && !errdefs.IsCanceled(err) && !errdefs.IsDeadlineExceeded(err):
			p.log.Error("a worker cannot be started", "worker", id, "error", err)
			if err = p.refuse(task, id, err); err == nil {
				return
			}
		}
		p.log.Warn("a worker was not started; trying again", "worker", id, "error", err)
		if !p.pause(wait.next()) {
			return
		}
	}
}

// errSuperseded: others have taken this provisioner for dead, and the slots away.
var errSuperseded = errors.New("the slots are gone")

// holdsStill makes sure that the slots which were taken for a worker are there, if it was a while ago that somebody looked.
func (p *Provisioner) holdsStill(slots []slot, looked *time.Time) error {
	began := time.Now()
	if began.Sub(*looked) < patience/2 {
		return nil
	}
	all, err := p.slots(p.ctx)
	if err != nil {
		return err
	}
	for _, s := range slots {
		if !slices.ContainsFunc(all, func(o slot) bool { return o.id == s.id }) {
			return errSuperseded
		}
	}
	*looked = began
	return nil
}
