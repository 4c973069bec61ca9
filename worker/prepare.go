package worker

import (
	"context"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
)

// prep is a task on its way from nothing to created, its log open and someone waiting for it: only Start is missing.
type prep struct {
	stage   int
	step    *pipeline.Step
	attempt int
	cancel  context.CancelFunc
	done    chan struct{}
	// running tells, once, that the main process runs, since a time or, if that is zero, now: Start has returned, or there is a
	// line of it before that.
	running func(since time.Time)

	past *pastStep // what an earlier process has seen of the attempt; nil if this one makes it

	// Set when done is closed.
	task driver.TaskID
	lane *lane
	tail *tail
	err  error
	// phases are where the time went; who has the prep at the time adds to them.
	phases []journal.Phase
}

// phase notes that something that began then has just ended.
func (p *prep) phase(name string, began time.Time) {
	p.phases = append(p.phases, journal.Phase{Name: name, Began: began.UTC().Round(0), Ended: time.Now().UTC().Round(0)})
}

// prepare begins to make the task of an attempt.
func (e *engine) prepare(stage int, s *pipeline.Step, attempt int) *prep {
	ctx, cancel := context.WithCancel(e.stop)
	p := &prep{stage: stage, step: s, attempt: attempt, cancel: cancel, done: make(chan struct{})}
	var once sync.Once
	p.running = func(since time.Time) { once.Do(func() { e.tell(p, Running, since) }) }
	go func() {
		defer close(p.done)
		if p.err = e.create(ctx, p); p.err != nil {
			e.doubt.Store(true)
			e.lanes.release(p.lane, p.stage)
			p.lane = nil
		}
	}()
	return p
}

// create makes what the task needs, and the task.
func (e *engine) create(ctx context.Context, p *prep) error {
	if known, err := e.reattach(p); known || err != nil {
		return err
	}
	e.pulls.begin(p.step)
	spec, err := e.spec(p)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := e.pulls.step(ctx, p.step); err != nil {
		return err
	}
	p.phase(journal.PhasePull, began)
	began = time.Now()
	defer func() { p.phase(journal.PhaseCreate, began) }()
	if len(p.step.Services) == 0 {
		if p.lane = e.lanes.take(p.stage); p.lane != nil {
			spec.Sandbox = p.lane.id
		}
	}
	id, err := e.createAnew(ctx, spec)
	if err != nil {
		return err
	}
	p.task = id
	e.made.task(p)
	if err := e.caches.open(ctx, p); err != nil {
		return err
	}
	// Whoever has a task first fills the workspace through it.
	var filling sync.WaitGroup
	filling.Go(func() { e.space.fill(id, spec.Container.Mounts) })
	p.tail, err = e.follow(ctx, p)
	filling.Wait()
	return err
}

// ledger knows every task that the build made, and those that were made ahead.
type ledger struct {
	e  *engine
	mu sync.Mutex
	// waiting are preparations that no step has taken yet.
	waiting []*prep
	tasks   map[driver.TaskID]struct{}
	vols    []driver.VolumeID
	// background is what goes on beside the steps: removals and pulls.
	background background
}

// ahead begins to prepare the first attempt of a step that is left, unless that has begun.
func (l *ledger) ahead(e *engine, stage int, s *pipeline.Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.waiting {
		if p.step == s {
			return
		}
	}
	l.waiting = append(l.waiting, e.prepare(stage, s, e.past.next(s.ID)))
}

// take returns what was prepared for a step, or begins to prepare it.
func (l *ledger) take(e *engine, stage int, s *pipeline.Step) *prep {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range l.waiting {
		if p.step == s {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return p
		}
	}
	return e.prepare(stage, s, e.past.next(s.ID))
}

// discard removes the preparations that no step will take.
func (l *ledger) discard(unwanted func(*prep) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.waiting[:0]
	for _, p := range l.waiting {
		if !unwanted(p) {
			kept = append(kept, p)
			continue
		}
		p.cancel()
		l.background.Go(func() {
			<-p.done
			l.e.finish(p)
		})
	}
	l.waiting = kept
}

// task notes a task that was made.
func (l *ledger) task(p *prep) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tasks == nil {
		l.tasks = map[driver.TaskID]struct{}{}
	}
	l.tasks[p.task] = struct{}{}
}

// gone notes that a task was removed.
func (l *ledger) gone(id driver.TaskID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tasks, id)
}

// left returns the tasks that are still there.
func (l *ledger) left() []driver.TaskID {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []driver.TaskID
	for id := range l.tasks {
		ids = append(ids, id)
	}
	return ids
}

// volume notes a volume that ends with the build.
func (l *ledger) volume(id driver.VolumeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vols = append(l.vols, id)
}

// volumes returns the volumes that end with the build.
func (l *ledger) volumes() []driver.VolumeID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]driver.VolumeID(nil), l.vols...)
}
