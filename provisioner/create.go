package provisioner

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Trigger asks for a build and returns its worker, which waits for its turn. Asking again for the same build of the same instance returns the same
// worker, and made is false. It returns when the worker is on the runtime; what fails leaves nothing there.
//
// Errors: ErrQueueFull; those of [driver.Driver].Create, Unavailable among them.
func (p *Provisioner) Trigger(ctx context.Context, t Trigger) (w Worker, made bool, err error) {
	if p.ctx.Err() != nil {
		return w, false, ErrClosing
	}
	if p.fleet.reachable() != nil { // to make a worker would take long to find that out
		asking, cancel := within(ctx, probeBound)
		_, err := p.cfg.Driver.ListVolumes(asking, driver.ListOptions{Labels: map[string]string{LabelRole: roleNote}})
		cancel()
		if err != nil {
			return w, false, driver.WithClass(errdefs.ErrUnavailable, "the runtime does not answer: %v", err)
		}
	}
	id := workerID(t.Instance, t.Build)
	if _, is := p.fleet.broken(id); is {
		if err := p.refresh(ctx); err != nil {
			return w, false, err
		}
	}
	if half, is := p.fleet.broken(id); is {
		p.log.Warn("a worker was made by half, and is made anew", "worker", id)
		if err := p.remove(ctx, id, half); err != nil {
			return w, false, err
		}
	}
	if p.fleet.doomed(id) {
		return w, false, driver.WithClass(errdefs.ErrUnavailable, "worker %s is just being deleted; try again", id)
	}
	if w, ok := p.fleet.worker(id); ok {
		return w, false, p.finished(ctx, id)
	}
	if n := p.fleet.queued(); n >= p.cfg.Limits.Queue {
		return w, false, fmt.Errorf("%w: %d workers wait", ErrQueueFull, n)
	}
	w, err = p.make(ctx, id, &t)
	switch {
	case err == nil:
		p.came()
		return w, true, nil
	case errdefs.IsAlreadyExists(err): // by another provisioner, or by the same call before
		if err := p.refresh(ctx); err != nil {
			return w, false, err
		}
	default:
		return w, false, err
	}
	p.poke()
	w, ok := p.fleet.worker(id)
	if !ok {
		return w, false, removedAtOnce(id)
	}
	return w, false, p.finished(ctx, id)
}

// finished returns an error unless a worker that the fleet has is whole: another provisioner is just making it, or died over it, or somebody removes it. Nobody may take that for a
// build that will run.
func (p *Provisioner) finished(ctx context.Context, id string) error {
	there, half := p.fleet.halfMade(id)
	if half {
		if err := p.refresh(ctx); err != nil {
			return err
		}
		there, half = p.fleet.halfMade(id)
	}
	switch {
	case !there:
		return removedAtOnce(id)
	case half:
		return driver.WithClass(errdefs.ErrUnavailable, "worker %s is just being made, or whoever made it has died; try again, for a minute at most, or delete it", id)
	}
	return nil
}

func removedAtOnce(id string) error {
	return driver.WithClass(errdefs.ErrUnavailable, "worker %s was removed at once; try again", id)
}

// make makes a worker's volume and task. The volume is of this call alone, and what fails removes it again: that of a worker which has the same ID is another.
func (p *Provisioner) make(ctx context.Context, id string, t *Trigger) (w Worker, err error) {
	select { // many at once take longer than in turn
	case p.creating <- struct{}{}:
		defer func() { <-p.creating }()
	case <-ctx.Done():
		return w, context.Cause(ctx)
	}
	name := id + "-" + random()
	done := make(chan struct{})
	p.making.Store(name, done)
	defer func() {
		p.making.Delete(name)
		close(done)
	}()
	volume, err := p.cfg.Driver.CreateVolume(ctx, driver.VolumeSpec{Name: name, Labels: map[string]string{LabelRole: RoleWorker, LabelWorker: id}})
	if err != nil {
		return w, err
	}
	spec, err := p.task(t, volume)
	if err == nil {
		spread(spec.Labels, labelVolume, string(volume))
		var task driver.TaskID
		if task, err = p.cfg.Driver.Create(ctx, spec); err == nil {
			return p.fleet.add(driver.Task{ID: task, Name: id, Labels: spec.Labels, State: driver.StateCreated, Created: time.Now()}), nil
		}
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if left := p.cfg.Driver.RemoveVolume(clean, volume); left != nil && !errdefs.IsFailedPrecondition(left) {
		p.log.Warn("the volume of a worker that could not be made is left, and will be removed later", "worker", id, "error", left)
		p.spawn(func() { p.removeLater(volume) })
	}
	return w, err
}

// removeLater removes a volume when the runtime answers again. If this provisioner dies before, it is removed as one of no worker.
func (p *Provisioner) removeLater(volume driver.VolumeID) {
	for wait := (backoff{}); p.pause(wait.next()); {
		err := p.cfg.Driver.RemoveVolume(p.ctx, volume)
		if err == nil || errdefs.IsFailedPrecondition(err) {
			return
		}
	}
}
