package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Options say what to collect.
type Options struct {
	// State is the state directory of this host; nil opens the default one.
	State *Dir
	// DryRun removes nothing and says what would be.
	DryRun bool
	// Kept removes also what a build was told to leave.
	Kept bool
}

// Kind is what was removed.
type Kind string

// The kinds, in the order in which they are removed.
const (
	Task    Kind = "task"
	Sandbox Kind = "sandbox"
	Volume  Kind = "volume"
)

// Removed is something that a dead build left.
type Removed struct {
	Kind    Kind
	Name    string
	Build   string
	Created time.Time
}

// object is a task, sandbox or volume on the runtime.
type object struct {
	Removed
	labels map[string]string
	remove func(context.Context) error
}

// Collect removes the tasks, sandboxes and volumes of builds of this host that are dead, and returns what it
// removed, also when an error follows: what could not be removed is named there, and a later call tries again.
//
// It leaves alone what a living build owns, what another host, nobody's build, or a build whose lease does not lie
// in opts.State made, what is kept (unless opts.Kept), and caches. It may run at any time, also while builds start: a build
// takes its lease before it makes its first object, and Collect looks at leases after it has looked at objects.
func Collect(ctx context.Context, d driver.Driver, opts Options) ([]Removed, error) {
	state := opts.State
	if state == nil {
		var err error
		if state, err = Open(""); err != nil {
			return nil, err
		}
	}
	var removed []Removed
	for range rounds {
		more, err := collect(ctx, d, state, opts)
		removed = append(removed, more...)
		if opts.DryRun {
			return removed, err
		}
		if len(more) == 0 {
			return removed, errors.Join(err, state.sweep())
		}
	}
	return removed, errors.Join(errors.New("dead builds left more than could be removed at once; try again"), state.sweep())
}

// rounds bounds how often Collect looks again after it has removed something: what a build asked for in its last moment
// the runtime may make only now.
const rounds = 10

// collect goes once through all that there is.
func collect(ctx context.Context, d driver.Driver, state *Dir, opts Options) ([]Removed, error) {
	objects, err := list(ctx, d, state.host)
	if err != nil {
		return nil, fmt.Errorf("looking for what dead builds left: %w", err)
	}
	var removed []Removed
	var errs []error
	deaths := map[string]bool{}
	for _, o := range objects {
		dead, known := deaths[o.Build]
		if !known {
			if dead, err = state.dead(o.Build); err != nil {
				errs = append(errs, err)
				dead = false
			}
			deaths[o.Build] = dead
		}
		if !dead || o.labels[LabelKeep] != "" && !opts.Kept {
			continue
		}
		if !opts.DryRun {
			if err := o.remove(ctx); err != nil {
				errs = append(errs, fmt.Errorf("%s %s of build %s: %w", o.Kind, o.Name, o.Build, err))
				continue
			}
		}
		removed = append(removed, o.Removed)
	}
	return removed, errors.Join(errs...)
}

// list returns everything on the runtime that builds of a host made, in the order in which it can be removed.
func list(ctx context.Context, d driver.Driver, host string) ([]object, error) {
	caps, err := d.Capabilities(ctx)
	if err != nil {
		return nil, err
	}
	by := driver.ListOptions{Labels: map[string]string{LabelHost: host}}
	tasks, err := d.List(ctx, by)
	if err != nil {
		return nil, err
	}
	var found []object
	add := func(kind Kind, name string, labels map[string]string, created time.Time, remove func(context.Context) error) {
		found = append(found, object{Removed{kind, name, labels[LabelBuild], created}, labels, remove})
	}
	for _, t := range tasks {
		add(Task, t.Name, t.Labels, t.Created, func(ctx context.Context) error { return d.Remove(ctx, t.ID) })
	}
	if caps.Sandboxes {
		sandboxes, err := driver.ListSandboxes(ctx, d, by)
		if err != nil {
			return nil, err
		}
		for _, s := range sandboxes {
			add(Sandbox, s.Name, s.Labels, s.Created, func(ctx context.Context) error { return driver.RemoveSandbox(ctx, d, s.ID) })
		}
	}
	volumes, err := d.ListVolumes(ctx, by)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		add(Volume, v.Name, v.Labels, v.Created, func(ctx context.Context) error { return d.RemoveVolume(ctx, v.ID) })
	}
	return found, nil
}
