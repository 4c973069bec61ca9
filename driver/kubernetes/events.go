package kubernetes

import (
	"context"
	"errors"
	"sync"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Events tells of changes: of pods by the watch, and of what goes on inside of one by a call to its keeper. See [driver.Eventer].
func (d *Driver) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	ctx, done := d.begin(ctx)
	defer done()
	return eventsError(ctx, d.events(ctx, opts, f))
}

// callerError is what the caller's function returned, which goes back to it as it is.
type callerError struct{ error }

func eventsError(ctx context.Context, err error) error {
	var own callerError
	if errors.As(err, &own) {
		return own.error
	}
	return driver.Wrap(ctx, "events", "", classify(err))
}

func (d *Driver) events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	if err := driver.ValidLabels(opts.Labels); err != nil {
		return err
	}
	if err := d.pods.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &teller{d: d, ctx: ctx, opts: opts, f: f, tasks: map[string]*told{}, states: make(chan change)}
	defer e.calls.Wait()
	defer cancel()
	e.calls.Go(e.evictions)
	for {
		d.pods.mu.Lock()
		any, failing, since := d.pods.any, d.pods.failing, d.pods.since
		now := make(map[string]*core.Pod, len(d.pods.pods))
		for _, p := range d.pods.pods {
			now[string(p.UID)] = p
		}
		d.pods.mu.Unlock()
		if err := e.look(now); err != nil {
			return err
		}
		if err := e.wait(any, failing, since); err != nil {
			return err
		}
	}
}

// teller calls the caller's function for each change.
type teller struct {
	d      *Driver
	ctx    context.Context
	opts   driver.ListOptions
	f      func(driver.Event) error
	tasks  map[string]*told // by UID
	states chan change
	calls  sync.WaitGroup
}

// told is what was told of a task last.
type told struct {
	id      driver.TaskID
	state   driver.State
	reason  string
	any     bool // something was told
	watched bool // its keeper is asked
}

type change struct {
	uid   string
	state driver.State
	evict string // why a node takes off the pod, if that is what is told
}

// wait tells what keepers say, until there is something to look at.
func (e *teller) wait(any <-chan struct{}, failing error, since time.Time) error {
	looked := make(chan error, 1)
	ctx, cancel := context.WithCancel(e.ctx)
	go func() { looked <- e.d.patient(ctx, failing, since, any, nil) }()
	defer cancel()
	for {
		select {
		case err := <-looked:
			return err
		case c := <-e.states:
			t := e.tasks[c.uid]
			if c.evict != "" {
				if t != nil && t.state == driver.StateRunning {
					if err := e.tell(t, t.state, c.evict); err != nil {
						return err
					}
				}
				continue
			}
			if t == nil || t.any && c.state <= t.state {
				continue
			}
			first := !t.any
			if err := e.tell(t, c.state, ""); err != nil || first {
				return err // to look why it is not further
			}
		}
	}
}

// look compares the pods with what was told.
func (e *teller) look(now map[string]*core.Pod) error {
	for uid, p := range now {
		if p.Labels[labelKind] != kindTask || !matches(userLabels(p), e.opts.Labels) {
			continue
		}
		t := e.tasks[uid]
		if t == nil {
			t = &told{id: e.d.handleOf(p).id()}
			e.tasks[uid] = t
		}
		switch {
		case stopped(p):
			if err := e.tell(t, driver.StateEnded, whyStopped); err != nil {
				return err
			}
		case gated(p, gateComplete):
			if err := e.tell(t, driver.StateUnknown, inMaking); err != nil {
				return err
			}
		case keeperEnded(p):
			if err := e.tell(t, driver.StateEnded, p.Status.Reason); err != nil {
				return err
			}
		default:
			if keeperRuns(p) && !t.watched {
				t.watched = true
				e.follow(e.d.handleOf(p), comingUp(p))
			}
			if keeperRuns(p) && !t.any {
				continue // the keeper knows better
			}
			if why := leaving(p); why != "" && t.state == driver.StateRunning {
				if err := e.tell(t, t.state, why); err != nil {
					return err
				}
				continue
			}
			if err := e.tell(t, comingUp(p), whyWaiting(p)); err != nil {
				return err
			}
		}
	}
	for uid, t := range e.tasks {
		if now[uid] == nil {
			delete(e.tasks, uid)
			if err := e.send(driver.Event{Task: t.id, State: driver.StateEnded, Removed: true, Time: time.Now().UTC()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow asks a keeper for every change of its task's state, which is at least that of its pod.
func (e *teller) follow(h handle, least driver.State) {
	e.calls.Go(func() {
		_, _ = e.d.ask(e.ctx, h, wire.Request{Op: wire.OpStates}, func(kind byte, payload []byte) error {
			if kind != wire.FrameState {
				return nil
			}
			select {
			case e.states <- change{uid: h.uid, state: max(least, stateOf(wire.State(payload)))}:
			case <-e.ctx.Done():
			}
			return nil
		}) // the end of the pod, if that is why it ends, the watch tells
	})
}

// tell tells a state, if it is a new one; no state comes after a later one.
func (e *teller) tell(t *told, s driver.State, reason string) error {
	if t.any && (s < t.state || s == t.state && reason == t.reason) {
		return nil
	}
	t.any, t.state, t.reason = true, s, reason
	return e.send(driver.Event{Task: t.id, State: s, Reason: reason, Time: time.Now().UTC()})
}

func (e *teller) send(ev driver.Event) error {
	if err := e.f(ev); err != nil {
		return callerError{err}
	}
	return nil
}
