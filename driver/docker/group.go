package docker

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// members are the containers of a task beside the main one, in their order.
type members struct {
	holder          string // id, or empty
	held            bool   // the holder was started
	sealed          bool   // it has the task's secrets
	main            string // id
	inits, services []container.Summary
}

// group finds the containers of a task by their label.
func (d *Driver) group(ctx context.Context, h handle) (members, error) {
	f := d.filters("", nil).Add("label", labelGroup+"="+h.group)
	res, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: f})
	if err != nil {
		return members{}, err
	}
	return membersOf(h, res.Items), nil
}

// membersOf sorts the containers of a task.
func membersOf(h handle, all []container.Summary) members {
	g := members{main: h.container}
	for _, c := range all {
		switch c.Labels[labelKind] {
		case kindHolder:
			g.holder, g.held, g.sealed = c.ID, c.State != container.StateCreated, c.Labels[labelSealed] != ""
		case kindInit:
			g.inits = append(g.inits, c)
		case kindService:
			g.services = append(g.services, c)
		}
	}
	order := func(a, b container.Summary) int {
		i, _ := strconv.Atoi(a.Labels[labelOrder])
		j, _ := strconv.Atoi(b.Labels[labelOrder])
		return cmp.Compare(i, j)
	}
	slices.SortFunc(g.inits, order)
	slices.SortFunc(g.services, order)
	return g
}

// allGroups returns the containers of all tasks, by group: asked for once, by who wants to know of many.
func (d *Driver) allGroups(ctx context.Context) (map[string][]container.Summary, error) {
	res, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.filters("", nil)})
	if err != nil {
		return nil, err
	}
	all := map[string][]container.Summary{}
	for _, c := range res.Items {
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

// keepTogether does what it can; whoever waits for the task hears of what the daemon refuses.
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
			if err != nil || e.InspectResponse == nil || phaseOf(e.InspectResponse) != phaseExited {
				return
			}
			if main, err := d.begun(ctx, h.container); err == nil && phaseOf(main) == phaseRunning {
				_, _ = d.api.ContainerKill(ctx, h.container, client.ContainerKillOptions{Signal: "KILL"})
			}
		})
	}
	main, err := d.settle(ctx, h.container)
	cancel()
	watchers.Wait()
	stopped := main.InspectResponse != nil && phaseOf(main.InspectResponse) == phaseMarked && markOf(main.InspectResponse) == markStopped
	if err == nil && !stopped { // Stop has its own grace time
		d.endServices(d.ctx, g)
	}
}

// begun returns once the main container is not about to be started any more: a service may die before that.
func (d *Driver) begun(ctx context.Context, id string) (*container.InspectResponse, error) {
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

// serviceGrace is how many seconds a service has to end by itself when its task has ended.
const serviceGrace = 3

// endServices stops the services and whatever init container still runs.
func (d *Driver) endServices(ctx context.Context, g members) {
	var all sync.WaitGroup
	for _, c := range slices.Concat(g.services, g.inits) {
		if d.ended.Has(c.ID) {
			continue
		}
		all.Go(func() {
			grace := serviceGrace
			_, _ = d.api.ContainerStop(ctx, c.ID, client.ContainerStopOptions{Timeout: &grace})
			d.hub.poke(c.ID, false)
		})
	}
	all.Wait()
}
