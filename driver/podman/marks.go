package podman

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
)

// A mark says of a main container that will never run, or could not be started, why not. Podman has no place for that in
// a container that was made; so a mark is an empty volume, named after the container, with labels.
const (
	markStopped  = 1    // Stop was called before the start
	markRefused  = 2    // labelRefused says why
	markFailed   = 3    // the runtime could not start it; the mark's reason says why
	markSandbox  = 4    // its sandbox does not run any more
	markGone     = 5    // of a sandbox: it was removed, and goes with the last container in it
	markInit     = 1000 // and the number of the init container that failed
	markDied     = 2000 // and the number of the service that died
	markNotReady = 3000 // and the number of the service that was not ready in time
)

func (d *Driver) markName(id string) string { return "wharf_" + d.owner + "__mark_" + id[:24] }

// setMark notes why a container will not run, and wakes whoever waits for it. The first mark stays.
func (d *Driver) setMark(ctx context.Context, id string, mark int, reason string) error {
	labels := map[string]string{
		labelOwner: d.owner, labelKind: kindMark, labelContainer: id, labelMark: strconv.Itoa(mark), labelReason: reason,
	}
	err := d.makeVolume(ctx, d.markName(id), labels)
	d.hub.poke(id, false)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	if _, err := d.look(ctx, id); errdefs.IsNotFound(err) { // removed meanwhile, with the mark that it had then
		return errors.Join(err, d.dropMark(ctx, id))
	}
	return nil
}

// sweep removes, beside other work and not too often, what processes have left that were killed: secrets, and marks of containers that are gone.
func (d *Driver) sweep(there []listed) {
	now := time.Now().UnixNano()
	last := d.swept.Load()
	if last != 0 && now-last < int64(sweepPause) || !d.swept.CompareAndSwap(last, now) {
		return
	}
	d.tasks.Go(func() {
		d.sweepMarks(d.ctx, there)
		d.sweepSecrets(d.ctx)
	})
}

func (d *Driver) sweepMarks(ctx context.Context, there []listed) {
	list, err := d.listVolumes(ctx, kindMark)
	if err != nil {
		return // the next time
	}
	for _, v := range list {
		id := v.Labels[labelContainer]
		if len(id) < 24 || d.markName(id) != v.Name || slices.ContainsFunc(there, func(c listed) bool { return c.ID == id }) {
			continue
		}
		if _, err := d.look(ctx, id); errdefs.IsNotFound(err) {
			_ = d.dropMark(ctx, id)
		}
	}
}

// sweepPause is how much time passes between two sweeps at least.
const sweepPause = 10 * time.Second

// readMark completes what is known of a container.
func (d *Driver) readMark(ctx context.Context, c *inspected) error {
	v, err := d.inspectVolume(ctx, d.markName(c.ID))
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c.mark, _ = strconv.Atoi(v.Labels[labelMark])
	c.reason = v.Labels[labelReason]
	return nil
}

// markedOf returns what has a mark, if any of some main containers may have one, so that nobody has to ask for each.
func (d *Driver) markedOf(ctx context.Context, there []listed) (map[string]bool, error) {
	marked := map[string]bool{}
	if !slices.ContainsFunc(there, func(c listed) bool { return c.Labels[labelKind] == kindTask && waits(c) }) {
		return marked, nil
	}
	list, err := d.listVolumes(ctx, kindMark)
	for _, v := range list {
		marked[v.Labels[labelContainer]] = true
	}
	return marked, err
}

// dropMark removes the mark of a container that is gone.
func (d *Driver) dropMark(ctx context.Context, id string) error {
	err := d.api.call(ctx, "DELETE", "/volumes/"+d.markName(id), nil, nil, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
