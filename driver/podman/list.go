package podman

import (
	"context"
	"slices"
	"sync"

	"github.com/wharfci/wharf/driver"
)

// List returns the owner's tasks. See [driver.Driver].
func (d *Driver) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	ctx, done := d.begin(ctx)
	defer done()
	tasks, err := d.tasksOf(ctx, opts)
	return tasks, driver.Wrap(ctx, "list", "", classify(err))
}

func (d *Driver) tasksOf(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	if err := driver.ValidLabels(opts.Labels); err != nil {
		return nil, err
	}
	list, err := d.list(ctx, d.filters("", opts.Labels))
	if err != nil {
		return nil, err
	}
	d.sweep(list)
	marked, err := d.markedOf(ctx, list)
	if err == nil && slices.ContainsFunc(list, func(c listed) bool { return marked[c.ID] && waits(c) }) { // a Start that had looked before the mark was set is seen now
		list, err = d.list(ctx, d.filters("", opts.Labels))
	}
	if err != nil {
		return nil, err
	}
	whole, mains := map[string]bool{}, map[string]bool{} // groups that have a main container, and all of these
	for _, c := range list {
		if c.Labels[labelKind] == kindTask {
			whole[c.Labels[labelGroup]], mains[c.ID] = true, true
		}
	}
	groups := sync.OnceValues(func() (map[string][]listed, error) { return d.allGroups(ctx) })
	tasks := make([]driver.Task, 0, len(list))
	for _, c := range list {
		if !has(c.Labels, opts.Labels) {
			continue
		}
		var state driver.State
		var reason string
		var err error
		switch {
		case c.Labels[labelKind] == kindTask && len(c.Names) > 0 && incomplete(c.Names[0]):
			state, reason = driver.StateUnknown, inMaking
		case c.Labels[labelKind] == kindTask:
			state, reason, err = d.taskState(c, marked, groups)
		case c.Labels[labelKind] == kindHolder && !whole[c.Labels[labelGroup]]:
			state, reason = driver.StateUnknown, inMaking
		case isStray(c, mains):
			_ = d.removeContainer(ctx, c.ID) // or the next time
			continue
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, driver.Task{
			ID: driver.TaskID(handleOf(c.ID, c.Labels).String()), Name: c.Labels[labelName], Labels: userLabels(c.Labels),
			State: state, Reason: reason, Incomplete: reason == inMaking, Created: c.Created.UTC(),
		})
	}
	return tasks, nil
}

// waits reports whether the service lists a container as one that has not run.
func waits(c listed) bool {
	return c.State == stateCreated || c.State == stateConfigured || c.State == stateInitialized
}

// taskState says where a task stands. Podman lists as created also what was stopped before its start, or could not be started, which its mark tells; what is starting; and, as
// initialized, what has ended just when somebody attached to it.
func (d *Driver) taskState(c listed, marked map[string]bool, groups func() (map[string][]listed, error)) (driver.State, string, error) {
	switch c.State {
	case stateRunning, statePaused, stateStopping:
		if d.bereft.Has(c.ID) {
			return driver.StateEnded, bereftReason, nil
		}
		return driver.StateRunning, "", nil
	case stateRemoving, stateExited, stateStopped:
		return driver.StateEnded, "", nil
	case stateCreated, stateConfigured, stateInitialized:
	default:
		return driver.StateUnknown, "", nil
	}
	h := handleOf(c.ID, c.Labels)
	switch {
	case marked[c.ID], c.StartedAt > 0:
		return driver.StateEnded, "", nil
	case h.group == "":
		return driver.StateCreated, "", nil
	}
	all, err := groups()
	if err != nil {
		return 0, "", err
	}
	state, reason := groupState(membersOf(h, all[h.group]))
	return state, reason, nil
}

// groupState tells a task that was not started from one whose init containers or services are on their way.
func groupState(g members) (driver.State, string) {
	for _, c := range slices.Concat(g.inits, g.services) {
		if c.State == stateRunning {
			return driver.StateStarting, c.Labels[labelContainer] + " is running"
		}
		if c.State == stateExited || c.State == stateStopped {
			return driver.StateStarting, c.Labels[labelContainer] + " has run"
		}
	}
	return driver.StateCreated, ""
}
