package podman

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Events tells of the owner's tasks. See [driver.Eventer].
func (d *Driver) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	ctx, done := d.begin(ctx)
	defer done()
	stream, leave := d.hub.listen()
	defer leave()
	t := &teller{d: d, opts: opts, f: f, known: map[driver.TaskID]driver.State{}}
	err := t.all(ctx)
	for err == nil {
		var list []*event
		if list, err = stream.next(ctx); err != nil {
			break
		}
		looked := false
		for _, m := range list {
			if m == nil && looked {
				continue // all happened before
			}
			looked = looked || m == nil
			if err = t.tell(ctx, m); err != nil {
				break
			}
		}
	}
	if t.own != nil {
		return t.own
	}
	return driver.Wrap(ctx, "events", "", classify(err))
}

// teller turns what the service says about containers into what changed in tasks, and
// says nothing twice.
type teller struct {
	d     *Driver
	opts  driver.ListOptions
	f     func(driver.Event) error
	own   error // what f returned
	known map[driver.TaskID]driver.State
}

// all looks at every task, and tells what differs from what is known.
func (t *teller) all(ctx context.Context) error {
	var tasks []driver.Task
	err := t.d.patiently(ctx, func() (err error) {
		tasks, err = t.d.tasksOf(ctx, t.opts)
		return err
	})
	if err != nil {
		return err
	}
	here := map[driver.TaskID]bool{}
	for _, task := range tasks {
		here[task.ID] = true
		if err := t.change(driver.Event{Task: task.ID, State: task.State, Reason: task.Reason, Time: time.Now()}); err != nil {
			return err
		}
	}
	for id, state := range t.known {
		if !here[id] {
			if err := t.change(driver.Event{Task: id, State: state, Removed: true, Time: time.Now()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// change tells of a change, unless that has been told already: the service repeats what happened last to a new connection.
func (t *teller) change(e driver.Event) error {
	state, known := t.known[e.Task]
	if known && !e.Removed && (e.State == state || e.State < state && e.State != driver.StateUnknown) || !known && e.Removed {
		return nil
	}
	t.known[e.Task] = e.State
	if e.Removed {
		delete(t.known, e.Task)
	}
	t.own = t.f(e)
	return t.own
}

// tell handles one event of the service.
func (t *teller) tell(ctx context.Context, m *event) error {
	switch {
	case m == nil:
		return t.all(ctx)
	case m.marks != "":
		return t.marked(ctx, m)
	}
	labels := m.Actor.Attributes
	for k, v := range t.opts.Labels {
		if got, ok := labels[labelUser+k]; labels[labelKind] == kindTask && (!ok || got != v) {
			return nil
		}
	}
	if labels[labelKind] != kindTask {
		if (labels[labelKind] == kindInit || labels[labelKind] == kindService) && m.Action == actionStart {
			return t.begins(ctx, labels, time.Unix(0, m.TimeNano))
		}
		return nil
	}
	e := driver.Event{Task: driver.TaskID(handleOf(m.Actor.ID, labels).String()), Time: time.Unix(0, m.TimeNano)}
	last := t.known[e.Task]
	switch m.Action {
	case actionCreate, actionRename:
		if incomplete(labels["name"]) {
			return nil // it gets its name when it is complete
		}
		e.State = driver.StateCreated
	case actionStart:
		e.State = driver.StateRunning
	case actionDied:
		e.State = driver.StateEnded
	case actionRemove:
		e.State, e.Removed = last, true
	case actionInit, actionMount, actionUnmount, actionAttach, actionExec, actionExecDied:
		return nil // which changes no task, and happens often
	default:
		if last == driver.StateEnded {
			return nil
		}
		return t.all(ctx) // stopped before its start, or not startable
	}
	if _, known := t.known[e.Task]; !known && !e.Removed && !t.exists(ctx, m.Actor.ID) {
		return nil
	}
	return t.change(e)
}

// begins tells that a task of several containers is starting, since one of them was started.
func (t *teller) begins(ctx context.Context, labels map[string]string, at time.Time) error {
	for id := range t.known {
		if h, err := t.d.parse(string(id)); err != nil || h.group != labels[labelGroup] {
			continue
		}
		return t.change(driver.Event{Task: id, State: driver.StateStarting, Reason: labels[labelContainer] + " is running", Time: at})
	}
	return t.all(ctx)
}

// marked tells of the end of a task that will not run, or could not be started.
func (t *teller) marked(ctx context.Context, m *event) error {
	for id, state := range t.known {
		h, err := t.d.parse(string(id))
		if err != nil || !strings.HasPrefix(h.container, m.marks) {
			continue
		}
		if state == driver.StateEnded {
			return nil
		}
		c, err := t.d.inspect(ctx, h.container)
		if err != nil && !errdefs.IsNotFound(err) {
			break
		}
		if err != nil || phaseOf(c) != phaseMarked && phaseOf(c) != phaseFailed {
			return nil // it is gone, or runs all the same, which its own events tell
		}
		return t.change(driver.Event{Task: id, State: driver.StateEnded, Time: time.Unix(0, m.TimeNano)})
	}
	return t.all(ctx)
}

// exists keeps a repeated event from telling of a task that was removed long since.
func (t *teller) exists(ctx context.Context, id string) bool {
	return t.d.api.call(ctx, "GET", "/containers/"+id+"/exists", nil, nil, nil) == nil
}
