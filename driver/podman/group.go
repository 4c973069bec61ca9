package podman

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"
)

// members are the containers of a task beside the main one, in their order.
type members struct {
	holder          string // id, or empty
	main            string // id
	whole           bool   // the main container is there, and the task complete
	inits, services []listed
}

// group finds the containers of a task by their label.
func (d *Driver) group(ctx context.Context, h handle) (members, error) {
	f := d.filters("", nil)
	f["label"] = append(f["label"], labelGroup+"="+h.group)
	list, err := d.list(ctx, f)
	if err != nil {
		return members{}, err
	}
	return membersOf(h, list), nil
}

// membersOf sorts the containers of a task.
func membersOf(h handle, all []listed) members {
	g := members{main: h.container}
	for _, c := range all {
		switch c.Labels[labelKind] {
		case kindTask:
			g.whole = len(c.Names) > 0 && !incomplete(c.Names[0])
		case kindHolder:
			g.holder = c.ID
		case kindInit:
			g.inits = append(g.inits, c)
		case kindService:
			g.services = append(g.services, c)
		}
	}
	order := func(a, b listed) int {
		i, _ := strconv.Atoi(a.Labels[labelOrder])
		j, _ := strconv.Atoi(b.Labels[labelOrder])
		return cmp.Compare(i, j)
	}
	slices.SortFunc(g.inits, order)
	slices.SortFunc(g.services, order)
	return g
}

// allGroups returns the containers of all tasks, by group: asked for once, by who wants to know of many.
func (d *Driver) allGroups(ctx context.Context) (map[string][]listed, error) {
	list, err := d.list(ctx, d.filters("", nil))
	if err != nil {
		return nil, err
	}
	all := map[string][]listed{}
	for _, c := range list {
		if group := c.Labels[labelGroup]; group != "" {
			all[group] = append(all[group], c)
		}
	}
	return all, nil
}

// supervisors are the tasks of several containers that this process looks after. The zero value is
// ready for use.
type supervisors struct {
	mu  sync.Mutex
	run map[string]bool
}

// supervise ends the services of a task when its main container has ended, and the main
// container when a service has. Any process that starts, waits for or follows the task does so.
func (d *Driver) supervise(h handle) {
	s := &d.groups
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		s.run = map[string]bool{}
	}
	if s.run[h.container] || d.ctx.Err() != nil {
		return
	}
	s.run[h.container] = true
	d.tasks.Go(func() {
		d.keepTogether(d.ctx, h)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.run, h.container)
	})
}

// keepTogether does what it can; whoever waits for the task hears of what the service refuses.
func (d *Driver) keepTogether(ctx context.Context, h handle) {
	g, err := d.group(ctx, h)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	for _, s := range g.services {
		watchers.Go(func() {
			e, err := d.settle(ctx, s.ID)
			if err != nil || e.inspected == nil || phaseOf(e.inspected) != phaseExited {
				return
			}
			if main, err := d.begun(ctx, h.container); err == nil && phaseOf(main) == phaseRunning {
				_ = d.stopOne(ctx, h.container, 0)
			}
		})
	}
	main, err := d.settle(ctx, h.container)
	cancel()
	watchers.Wait()
	stopped := main.inspected != nil && phaseOf(main.inspected) == phaseMarked && main.mark == markStopped
	if err == nil && !stopped { // Stop has its own grace time
		d.endServices(d.ctx, g)
	}
}

// begun returns once the main container is not about to be started any more: a service may die before that.
func (d *Driver) begun(ctx context.Context, id string) (*inspected, error) {
	for {
		c, err := d.inspect(ctx, id)
		if err != nil || phaseOf(c) != phaseCreated {
			return c, err
		}
		err = d.hub.await(ctx, id, func() bool {
			c, err := d.inspect(ctx, id)
			return err != nil || phaseOf(c) != phaseCreated
		})
		if err != nil {
			return nil, err
		}
	}
}

// serviceGrace is the time a service has to end by itself when its task has ended.
const serviceGrace = 3 * time.Second

// endServices stops the services and whatever init container still runs.
func (d *Driver) endServices(ctx context.Context, g members) {
	var all sync.WaitGroup
	for _, c := range slices.Concat(g.services, g.inits) {
		if d.ended.Has(c.ID) {
			continue
		}
		all.Go(func() {
			_ = d.stopOne(ctx, c.ID, serviceGrace)
			d.hub.poke(c.ID, false)
		})
	}
	all.Wait()
}

// list returns the containers that the filters select, oldest first.
func (d *Driver) list(ctx context.Context, f map[string][]string) ([]listed, error) {
	var list []listed
	q := filters(f)
	q.Set("all", "true")
	if err := d.api.call(ctx, "GET", "/containers/json", q, nil, &list); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b listed) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Labels[labelName], b.Labels[labelName]))
	})
	return list, nil
}
