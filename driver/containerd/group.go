//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/wharfci/wharf/driver"
)

// members are the containers of a task beside the main one, in the order of the spec.
type members struct{ inits, services []containers.Container }

func (m members) all() []containers.Container { return slices.Concat(m.inits, m.services) }

// group returns the members of a task that exist.
func (d *Driver) group(ctx context.Context, h handle) (members, error) {
	list, err := d.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==%s", labelUID, h.uid))
	if err != nil {
		return members{}, err
	}
	return membersOf(slices.DeleteFunc(list, func(c containers.Container) bool { return c.Labels[labelOwner] != d.owner })), nil
}

// membersOf sorts the containers of one task.
func membersOf(list []containers.Container) (g members) {
	for _, c := range list {
		switch c.Labels[labelKind] {
		case kindInit:
			g.inits = append(g.inits, c)
		case kindService:
			g.services = append(g.services, c)
		}
	}
	byIndex := func(a, b containers.Container) int {
		i, _ := strconv.Atoi(a.Labels[labelIndex])
		j, _ := strconv.Atoi(b.Labels[labelIndex])
		return i - j
	}
	slices.SortFunc(g.inits, byIndex)
	slices.SortFunc(g.services, byIndex)
	return g
}

// supervisors keep the containers of tasks together, one goroutine a task, in every process that started or watches it.
type supervisors struct {
	mu  sync.Mutex
	run map[string]bool
}

// supervise makes sure that services end when the main container has, and the other way round.
func (d *Driver) supervise(h handle) {
	s := &d.groups
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		s.run = map[string]bool{}
	}
	if s.run[h.uid] || d.ctx.Err() != nil {
		return
	}
	s.run[h.uid] = true
	d.tasks.Go(func() {
		d.keepTogether(d.ctx, h)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.run, h.uid)
	})
}

// keepTogether does what it can; whoever waits for the task hears of what the daemon refuses.
func (d *Driver) keepTogether(ctx context.Context, h handle) {
	g, err := d.group(ctx, h)
	if err != nil {
		return
	}
	watching, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	for _, c := range g.services {
		watchers.Go(func() {
			s, err := d.settle(watching, h, c.ID)
			if err != nil || s.phase != phaseExited && s.phase != phaseVanished {
				return
			}
			main, err := d.until(watching, h, h.container, false, func(p phase) bool { return p != phaseCreated })
			if err == nil && main.phase == phaseRunning {
				_ = d.killMain(watching, h)
			}
		})
	}
	main, err := d.settle(ctx, h, h.container)
	cancel()
	watchers.Wait()
	if err == nil && main.phase != phaseGoing && main.Labels[labelMark] != markStopped { // Stop has its own grace time
		d.endMembers(ctx, h, g, serviceGrace)
	}
}

// serviceGrace is how long a service has to end by itself when its task has ended.
const serviceGrace = 3 * time.Second

func (d *Driver) endMembers(ctx context.Context, h handle, g members, grace time.Duration) error {
	var wg sync.WaitGroup
	all := g.all()
	errs := make([]error, len(all))
	for i, c := range all {
		wg.Go(func() { errs[i] = d.stopOne(ctx, h, c.ID, grace) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// awaitReady waits until a service is ready, it ends, or the time is up; a mark says that the task has failed.
func (d *Driver) awaitReady(ctx context.Context, h handle, c containers.Container) (mark string, err error) {
	var ready driver.Ready
	if err := json.Unmarshal([]byte(c.Labels[labelReady]), &ready); err != nil {
		return "", fmt.Errorf("the label %s of service %s cannot be read: %w", labelReady, nameOf(c), err)
	}
	if ready.TCP == 0 && ready.Exec == nil {
		return "", nil
	}
	if ready.Timeout == 0 {
		ready.Timeout = time.Minute
	}
	checking, cancel := context.WithTimeout(ctx, ready.Timeout)
	defer cancel()
	check, ended := make(chan error, 1), make(chan error, 1)
	go func() { check <- d.check(checking, h, c, ready) }()
	go func() {
		_, err := d.settle(checking, h, c.ID)
		ended <- err
	}()
	died := false
	select {
	case err = <-check:
		cancel()
		<-ended
	case endErr := <-ended:
		died = endErr == nil
		cancel()
		err = <-check
	}
	switch {
	case err == nil:
		return "", nil
	case died:
		return markDied + ":" + nameOf(c), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case checking.Err() != nil:
		return markNotReady + ":" + nameOf(c), nil
	}
	return "", err
}

// check returns nil when the service is ready, and not before ctx ends if it is not. Only the service knows
// when it is ready; there is no event to wait for.
func (d *Driver) check(ctx context.Context, h handle, c containers.Container, ready driver.Ready) error {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		if ready.TCP != 0 {
			if conn, err := d.dialIn(ctx, h, c.ID, ready.TCP); err == nil {
				return conn.Close()
			}
		} else if res, err := d.exec(ctx, h, c.ID, driver.ExecSpec{Args: ready.Exec}); err == nil && res.Succeeded() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-pause.C:
		}
	}
}
