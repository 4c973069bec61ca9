package docker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/guard"
)

// Stop ends a task. See [driver.Driver].
func (d *Driver) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "stop", string(id), classify(d.stop(ctx, id, opts)))
}

func (d *Driver) stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	h, err := d.parse(string(id))
	if err != nil {
		return err
	}
	for {
		main, err := d.inspect(ctx, h.container)
		if err != nil {
			return err
		}
		if phaseOf(main) == phaseCreated {
			if err := d.setMark(ctx, h.container, markStopped); err != nil {
				return err
			}
			if main, err = d.inspect(ctx, h.container); err != nil { // a Start may have come between
				return err
			}
		}
		if phaseOf(main) == phaseRunning {
			if err := d.stopOne(ctx, h.container, opts.Grace); err != nil {
				return err
			}
			continue
		}
		break
	}
	if h.group == "" {
		return nil
	}
	g, err := d.group(ctx, h)
	if err != nil {
		return err
	}
	return d.stopMembers(ctx, g, opts.Grace)
}

// stopMembers stops services and init containers, after the main one: services must not be
// missed by a main container that is ending.
func (d *Driver) stopMembers(ctx context.Context, g members, grace time.Duration) error {
	var wg sync.WaitGroup
	errs := make([]error, len(g.inits)+len(g.services))
	for i, c := range append(append([]container.Summary{}, g.inits...), g.services...) {
		wg.Go(func() { errs[i] = d.stopOne(ctx, c.ID, grace) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stopOne stops a container that runs, and returns when it has ended. The daemon goes on by itself if ctx ends.
func (d *Driver) stopOne(ctx context.Context, id string, grace time.Duration) error {
	var err error
	if grace <= 0 {
		_, err = d.api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
		if err == nil {
			err = d.awaitExit(ctx, id, &exit{})
		}
	} else {
		seconds := int((grace + time.Second - 1) / time.Second)
		_, err = d.api.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &seconds})
	}
	if errdefs.IsConflict(err) || err != nil && strings.Contains(err.Error(), "is not running") {
		return nil
	}
	return err
}

// Remove takes a task away. See [driver.Driver].
func (d *Driver) Remove(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	h, err := d.parse(string(id))
	if err != nil {
		return nil // no task has such a handle
	}
	return driver.Wrap(ctx, "remove", string(id), classify(d.remove(ctx, h)))
}

func (d *Driver) remove(ctx context.Context, h handle) error {
	if h.group != "" {
		// The main container goes last: as long as it is there, so is its name and its handle.
		g, err := d.group(ctx, h)
		if err != nil {
			return err
		}
		if err := d.removeMembers(ctx, g); err != nil {
			return err
		}
	}
	if err := d.removeContainer(ctx, h.container); err != nil {
		return err
	}
	if h.own {
		d.dropOwnNetwork(ctx)
	}
	return nil
}

func (d *Driver) removeMembers(ctx context.Context, g members) error {
	ids := []string{}
	for _, c := range append(append([]container.Summary{}, g.inits...), g.services...) {
		ids = append(ids, c.ID)
	}
	if g.holder != "" {
		ids = append(ids, g.holder)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(ids))
	for i, id := range ids {
		wg.Go(func() { errs[i] = d.removeContainer(ctx, id) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// removed judges the answer to a removal. When someone else removes the container at the same time, it waits
// until that is done.
func (d *Driver) removed(ctx context.Context, id string, err error) error {
	d.hub.poke(id, false)
	for _, hints := range []*guard.IDs{&d.ended, &d.starved, &d.fed} {
		hints.Remove(id)
	}
	switch {
	case err == nil || errdefs.IsNotFound(err):
		return nil
	case strings.Contains(err.Error(), "is already in progress"):
		return d.awaitRemoval(ctx, id)
	}
	return err
}

func (d *Driver) awaitRemoval(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := d.api.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case r := <-res.Result:
		if r.Error != nil && r.Error.Message != "" {
			return errors.New(r.Error.Message)
		}
		return nil
	case err := <-res.Error:
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
}
