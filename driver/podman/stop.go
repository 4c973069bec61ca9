package podman

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
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
			if err := d.setMark(ctx, h.container, markStopped, ""); err != nil {
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
	for i, c := range slices.Concat(g.inits, g.services) {
		wg.Go(func() { errs[i] = d.stopOne(ctx, c.ID, grace) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stopOne stops a container that runs, and returns when it has ended. The service goes on by itself if ctx ends.
func (d *Driver) stopOne(ctx context.Context, id string, grace time.Duration) error {
	d.kills.Add(id)
	var err error
	if grace <= 0 {
		err = d.api.call(ctx, "POST", "/containers/"+id+"/kill", url.Values{"signal": {"KILL"}}, nil, nil)
	} else {
		seconds := int((grace + time.Second - 1) / time.Second)
		err = d.api.call(ctx, "POST", "/containers/"+id+"/stop", url.Values{"timeout": {strconv.Itoa(seconds)}}, nil, nil)
	}
	if err != nil && !notRunning(err) {
		return err
	}
	c, err := d.look(ctx, id)
	if err != nil || phaseOf(c) != phaseRunning {
		return err
	}
	_, err = d.settle(ctx, id)
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
	var g members
	var err error
	if h.group != "" {
		// The main container goes last but for the one that holds the network: as long as it is there, so is its name
		// and its handle.
		if g, err = d.group(ctx, h); err != nil {
			return err
		}
		if err := d.removeMembers(ctx, g); err != nil {
			return err
		}
	}
	sandbox := ""
	if h.joined {
		if sandbox, err = d.sandboxOf(ctx, h); err != nil {
			return err
		}
	}
	if err := d.removeContainer(ctx, h.container); err != nil {
		return err
	}
	if g.holder != "" {
		if err := d.removeContainer(ctx, g.holder); err != nil {
			return err
		}
	}
	if err := errors.Join(d.dropMark(ctx, h.container), d.dropSandbox(ctx, sandbox)); err != nil {
		return err
	}
	if h.group != "" && !g.whole {
		if err := d.dropSecretsOf(ctx, h.group); err != nil {
			return err
		}
	}
	return d.dropNetwork(ctx, h.network)
}

func (d *Driver) removeMembers(ctx context.Context, g members) error {
	var wg sync.WaitGroup
	all := slices.Concat(g.inits, g.services)
	errs := make([]error, len(all))
	for i, c := range all {
		wg.Go(func() {
			if errs[i] = d.removeContainer(ctx, c.ID); errs[i] == nil {
				errs[i] = d.dropMark(ctx, c.ID)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// removed judges the answer to a removal. When someone else removes the container at the same time, it waits
// until that is done.
func (d *Driver) removed(ctx context.Context, id string, err error) error {
	d.hub.poke(id, false)
	d.ended.Remove(id)
	d.kills.Remove(id)
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	if !answered(err) {
		return err
	}
	waitErr := d.hub.await(ctx, id, func() bool {
		c, err := d.look(ctx, id)
		return err != nil || phaseOf(c) != phaseGoing
	})
	if waitErr != nil {
		return waitErr
	}
	if _, lookErr := d.look(ctx, id); errdefs.IsNotFound(lookErr) {
		return nil
	}
	return err
}
