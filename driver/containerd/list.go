//go:build linux

package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/wharfci/wharf/driver"
)

// List returns the owner's tasks. See [driver.Driver].
func (d *Driver) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	ctx, done := d.begin(ctx)
	defer done()
	list, err := d.list(ctx, opts)
	return list, driver.Wrap(ctx, "list", "", classify(err))
}

// sorted returns the owner's main containers of those that any of the filters selects, and the others by the task that they belong to.
func (d *Driver) sorted(ctx context.Context, filters ...string) (mains []containers.Container, others map[string]members, err error) {
	list, err := d.client.ContainerService().List(ctx, filters...)
	if err != nil {
		return nil, nil, err
	}
	groups := map[string][]containers.Container{}
	for _, c := range list {
		switch {
		case c.Labels[labelOwner] != d.owner:
		case c.Labels[labelKind] == kindTask:
			mains = append(mains, c)
		default:
			groups[c.Labels[labelUID]] = append(groups[c.Labels[labelUID]], c)
		}
	}
	others = map[string]members{}
	for uid, list := range groups {
		others[uid] = membersOf(list)
	}
	return mains, others, nil
}

// few is how many tasks are asked for by themselves.
const few = 8

// plain are keys and values of labels that a filter has as they are.
var plain = regexp.MustCompile(`^[A-Za-z0-9._/=-]*$`)

// some returns what sorted does of all containers of the owner, or of less where few tasks have the labels, which the daemon can tell: with its specification each container is many thousands of bytes, and those of one worker are asked for
// often. The containers of a task come from one answer, so that none is missing that is just being removed.
func (d *Driver) some(ctx context.Context, want map[string]string) (mains []containers.Container, others map[string]members, err error) {
	all := fmt.Sprintf("labels.%q==%q", labelOwner, d.owner)
	filter := all + fmt.Sprintf(",labels.%q==%q", labelKind, kindTask)
	selective := false
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v := want[k]; plain.MatchString(k) && plain.MatchString(v) {
			filter += fmt.Sprintf(",labels.%q==%q", k, v)
			selective = true
		}
	}
	if !selective || d.broad.Has(filter) {
		return d.sorted(ctx, all)
	}
	found, err := d.client.ContainerService().List(ctx, filter)
	switch {
	case err != nil:
		return nil, nil, err
	case len(found) > few:
		d.broad.Add(filter)
		return d.sorted(ctx, all)
	case !slices.ContainsFunc(found, func(c containers.Container) bool { return c.Labels[labelMembers] != "" }):
		return found, nil, nil
	}
	var filters []string
	for _, c := range found {
		filters = append(filters, fmt.Sprintf("labels.%q==%s", labelUID, c.Labels[labelUID]))
	}
	return d.sorted(ctx, filters...)
}

func (d *Driver) list(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	if err := driver.ValidLabels(opts.Labels); err != nil {
		return nil, err
	}
	d.sweep(ctx)
	want := withPrefix(opts.Labels)
	mains, others, err := d.some(ctx, want)
	if err != nil {
		return nil, err
	}
	list := make([]driver.Task, 0, len(mains))
	for _, c := range mains {
		if !matches(c.Labels, want) {
			continue
		}
		t, err := d.taskOf(ctx, c, others[c.Labels[labelUID]])
		if notFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b driver.Task) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name)) })
	return list, nil
}

func (d *Driver) taskOf(ctx context.Context, c containers.Container, others members) (driver.Task, error) {
	h := d.handle(c.ID, c.Labels[labelUID])
	t := driver.Task{ID: driver.TaskID(h.String()), Name: c.Labels[labelName], Labels: userLabels(c.Labels), Created: c.CreatedAt.UTC()}
	s, err := d.statusOf(ctx, h, c)
	if errors.Is(err, errBusy) { // one hanging shim must not hide all tasks
		t.State, t.Reason = driver.StateUnknown, errBusy.Error()
		return t, nil
	}
	if err != nil {
		return t, err
	}
	switch s.phase {
	case phaseCreated:
		t.State = driver.StateCreated
		if c.Labels[labelMembers] != "" {
			t.State, t.Reason = d.groupState(h, c, others)
			t.Incomplete = t.State == driver.StateUnknown
		}
	case phaseRunning:
		t.State = driver.StateRunning
	case phaseGoing:
		t.State, t.Reason = driver.StateEnded, "its removal has begun"
	default:
		t.State = driver.StateEnded
	}
	return t, err
}

// groupState tells a task that was not started from one whose init containers or services are on their way.
func (d *Driver) groupState(h handle, main containers.Container, g members) (driver.State, string) {
	for _, c := range slices.Backward(g.all()) {
		if !d.startedAt(h, c).IsZero() {
			return driver.StateStarting, nameOf(c) + " was started"
		}
	}
	if !whole(main, g) {
		return driver.StateUnknown, "its making has not ended, or broke off"
	}
	return driver.StateCreated, ""
}

// whole reports whether a task has all its containers.
func whole(main containers.Container, g members) bool {
	n, _ := strconv.Atoi(main.Labels[labelMembers])
	return n == len(g.all())
}
