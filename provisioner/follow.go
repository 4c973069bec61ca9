package provisioner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

var workers = driver.ListOptions{Labels: map[string]string{LabelRole: RoleWorker}}

// watch keeps the fleet as the runtime has it.
func (p *Provisioner) watch() {
	wait := backoff{}
	for {
		err := p.refresh(p.ctx)
		if err == nil {
			p.fleet.reach(nil)
			wait = backoff{}
			err = driver.Events(p.ctx, p.cfg.Driver, workers, p.event)
		}
		if p.ctx.Err() != nil {
			return
		}
		p.fleet.reach(err)
		p.log.Warn("the runtime does not tell what happens", "error", err)
		if !p.pause(wait.next()) {
			return
		}
	}
}

// event takes in what the runtime tells of one task.
func (p *Provisioner) event(ev driver.Event) error {
	if ev.Removed {
		m := p.fleet.orphaned(ev.Task)
		p.fleet.removed(ev.Task)
		p.poke()
		if m != nil {
			p.spawn(func() { p.bury(m) })
		}
		return nil
	}
	if !p.fleet.changed(ev) {
		p.met.add(ev.Task)
		return nil
	}
	p.attend(ev.Task)
	if ev.State == driver.StateCreated {
		p.came()
	} else {
		p.poke()
	}
	return nil
}

// bury removes what is left of a worker that others have removed, and tries until nothing is.
func (p *Provisioner) bury(m *member) {
	p.persist(func() error {
		_, err := p.sweep(p.ctx, m.worker.ID, m.task.ID)
		_, notes := removeVolumes(p.ctx, p.cfg.Driver, notesOf(m.worker.ID, m.task.ID), all)
		return errors.Join(err, notes, p.cfg.Driver.RemoveVolume(p.ctx, VolumeOf(m.task)))
	}, "what a worker has left that was removed by others is not removed yet; trying again", "worker", m.worker.ID)
}

// A task may be strange for as long as meetTime, and while this provisioner makes workers, of which it may be one; but not for longer than makeTime more.
const (
	meetTime = 300 * time.Millisecond
	makeTime = 5 * time.Second
)

// strangers are tasks that events told of and that are not known: another provisioner has made them.
type strangers struct {
	mu   sync.Mutex
	ids  []driver.TaskID
	wake chan struct{}
}

func (s *strangers) add(id driver.TaskID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, id)
	signal(s.wake)
}

func (s *strangers) take() []driver.TaskID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.ids
	s.ids = nil
	return ids
}

// meet asks for all workers soon after there was a strange one, if it is still strange then.
func (p *Provisioner) meet() {
	for {
		select {
		case <-p.met.wake:
		case <-p.ctx.Done():
			return
		}
		if !p.pause(meetTime) {
			return
		}
		ids := p.met.take()
		p.awaitMade(ids)
		wait, told := backoff{}, false
		for !p.fleet.knows(ids) {
			err := p.refresh(p.ctx)
			if err == nil {
				break // what is not there now was removed since
			}
			if p.ctx.Err() == nil && !told {
				p.log.Warn("the workers of other provisioners are not known yet; trying on", "error", err)
				told = true
			}
			if !p.pause(wait.next()) {
				return
			}
		}
	}
}

// awaitMade returns when some tasks are known, or none of the workers is being made any more that are now, or some time has passed.
func (p *Provisioner) awaitMade(ids []driver.TaskID) {
	ctx, cancel := context.WithTimeout(p.ctx, makeTime)
	defer cancel()
	var making []chan struct{}
	p.making.Range(func(_, done any) bool {
		making = append(making, done.(chan struct{}))
		return true
	})
	for _, done := range making {
		if p.fleet.knows(ids) {
			return
		}
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// againEvery is how often all workers are asked for besides, so that an event that was lost does no harm for long.
const againEvery = time.Minute

// again asks for all workers now and then.
func (p *Provisioner) again() {
	for p.pause(againEvery) {
		if err := p.refresh(p.ctx); err != nil && p.ctx.Err() == nil {
			p.log.Warn("the workers could not be listed", "error", err)
		}
	}
}

// lists lets one list be asked for at a time: an older one is never taken in after a newer one.
type lists struct {
	turn  chan struct{}
	asked time.Time // when the last one that came was asked for; belongs to whose turn it is
}

// refresh asks for all workers, and has the queue looked at.
func (p *Provisioner) refresh(ctx context.Context) error {
	err := p.ask(ctx)
	if err == nil {
		p.poke()
	}
	return err
}

// ask asks for all workers, unless somebody else has done so since it was called.
func (p *Provisioner) ask(ctx context.Context) error {
	came := time.Now()
	select {
	case p.lists.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-p.lists.turn }()
	if p.lists.asked.After(came) {
		return nil
	}
	asked := time.Now()
	tasks, err := p.cfg.Driver.List(ctx, workers)
	if err != nil {
		return err
	}
	p.fleet.reconcile(tasks, asked)
	p.lists.asked = asked
	for _, t := range tasks {
		p.attend(t.ID)
	}
	return nil
}

// attend reads what a worker that has been started says, once.
func (p *Provisioner) attend(id driver.TaskID) {
	if m := p.fleet.claimReader(id); m != nil && !p.spawn(func() { p.read(m) }) {
		p.fleet.freeReader(m)
	}
}
