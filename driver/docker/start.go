package docker

import (
	"cmp"
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// Start starts a task. See [driver.Driver].
func (d *Driver) Start(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "start", string(id), classify(d.startTask(ctx, id)))
}

func (d *Driver) startTask(ctx context.Context, id driver.TaskID) error {
	h, err := d.parse(string(id))
	if err != nil {
		return err
	}
	unlock, err := d.starts.Lock(ctx, h.container)
	if err != nil {
		return err
	}
	defer unlock()
	main, err := d.inspect(ctx, h.container)
	if err != nil {
		return err
	}
	if incomplete(main.Name) || main.Config.Labels[labelKind] == kindHolder { // of which a list knows nothing more yet
		return driver.WithClass(errdefs.ErrFailedPrecondition, "the task is not complete: %s", inMaking)
	}
	if phaseOf(main) != phaseCreated {
		return nil // the daemon would start a container that has ended once more
	}
	d.fresh.Remove(h.container)
	if h.group != "" {
		if mark, err := d.startGroup(ctx, h); mark != 0 || err != nil {
			return d.abandon(ctx, h, mark, err)
		}
	}
	if main.Config.Labels[labelRefused] != "" {
		return d.setMark(ctx, h.container, markRefused)
	}
	_, err = d.startOne(ctx, h.container)
	return err
}

// startOne starts a container. It reports false, and no error, if the daemon has it on record that the
// process could not be started. When the connection breaks meanwhile, the daemon is asked whether it was: it is not started
// again, since it may have run already.
func (d *Driver) startOne(ctx context.Context, id string) (bool, error) {
	err := d.startOnNetwork(ctx, id)
	if err != nil && unreachable(err) && ctx.Err() == nil {
		var c *container.InspectResponse
		asked := d.patiently(ctx, func() (err error) { c, err = d.inspect(ctx, id); return err })
		switch {
		case asked != nil:
			err = asked
		case phaseOf(c) == phaseRunning || phaseOf(c) == phaseExited:
			err = nil
		}
	}
	if err == nil {
		d.hub.poke(id, true)
		return true, nil
	}
	dctx, cancel := detached(ctx)
	defer cancel()
	c, inspectErr := d.inspect(dctx, id)
	if inspectErr == nil && ctx.Err() == nil && phaseOf(c) == phaseFailed {
		d.announce(dctx, id)
		return false, nil
	}
	return false, err
}

// startGroup runs the init containers and starts the services. It goes on where an earlier call
// stopped. A mark other than 0 says why the main container must not be started.
func (d *Driver) startGroup(ctx context.Context, h handle) (mark int, err error) {
	g, err := d.group(ctx, h)
	if err != nil {
		return 0, err
	}
	kept, err := d.sealed(ctx, g)
	if err != nil {
		return 0, err
	}
	revealed := make(chan error, 1)
	go func() { revealed <- d.reveal(ctx, g, kept) }()
	if g.holder != "" {
		err = d.startOnNetwork(ctx, g.holder)
	}
	if hidden := <-revealed; refusedSecrets(ctx, hidden) {
		d.unwritten.Store(h.container, hidden.Error())
		return markUnwritten, nil
	} else if err := cmp.Or(hidden, err); err != nil {
		return 0, err
	}
	d.supervise(h)
	for i, c := range g.inits {
		if mark, err := d.currentMark(ctx, h); mark != 0 || err != nil {
			return mark, err
		}
		ok, err := d.runInit(ctx, c.ID)
		if err != nil {
			return 0, err
		}
		if !ok {
			return markInit + i, nil
		}
	}
	for i, s := range g.services {
		if mark, err := d.currentMark(ctx, h); mark != 0 || err != nil {
			return mark, err
		}
		if mark, err := d.startService(ctx, s, i); mark != 0 || err != nil {
			return mark, err
		}
	}
	for i, s := range g.services {
		if mark, err := d.awaitReady(ctx, s, i); mark != 0 || err != nil {
			return mark, err
		}
	}
	return d.currentMark(ctx, h)
}

// currentMark returns a mark of the main container if someone has set one: Stop, while the task was starting.
func (d *Driver) currentMark(ctx context.Context, h handle) (int, error) {
	main, err := d.inspect(ctx, h.container)
	if err == nil && phaseOf(main) == phaseMarked {
		return markOf(main), nil
	}
	return 0, err
}

// abandon notes why the main container is not started, unless it was stopped meanwhile, and
// ends what runs.
func (d *Driver) abandon(ctx context.Context, h handle, mark int, err error) error {
	if err != nil {
		return err
	}
	main, err := d.inspect(ctx, h.container)
	if err != nil {
		return err
	}
	if phaseOf(main) != phaseMarked {
		return d.setMark(ctx, h.container, mark)
	}
	return nil
}

// runInit runs an init container to its end and reports whether it succeeded.
func (d *Driver) runInit(ctx context.Context, id string) (bool, error) {
	c, err := d.inspect(ctx, id)
	if err != nil {
		return false, err
	}
	if phaseOf(c) == phaseCreated {
		if ok, err := d.startRefusable(ctx, c); !ok || err != nil {
			return false, err
		}
	}
	e, err := d.settle(ctx, id)
	if err != nil {
		return false, err
	}
	return d.result(e).Succeeded(), nil
}

// startRefusable starts a container, unless its label says that it must not be.
func (d *Driver) startRefusable(ctx context.Context, c *container.InspectResponse) (bool, error) {
	if c.Config.Labels[labelRefused] != "" {
		return false, d.setMark(ctx, c.ID, markRefused)
	}
	return d.startOne(ctx, c.ID)
}

func (d *Driver) startService(ctx context.Context, s container.Summary, i int) (mark int, err error) {
	c, err := d.inspect(ctx, s.ID)
	if err != nil || phaseOf(c) == phaseRunning {
		return 0, err
	}
	if phaseOf(c) == phaseCreated {
		ok, err := d.startRefusable(ctx, c)
		if ok || err != nil {
			return 0, err
		}
	}
	return markDied + i, nil
}

// removeContainer kills and removes a container with the volumes that its image declared. One that is not there is no error.
func (d *Driver) removeContainer(ctx context.Context, id string) error {
	d.fresh.Remove(id)
	d.unwritten.Delete(id)
	_, err := d.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	return d.removed(ctx, id, err)
}
