package provisioner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// removeBound is how long the removal of a worker may take, beside the time of grace that its build has.
const removeBound = 2 * time.Minute

// Delete stops a worker, whatever it does, and removes it with all that it has made: a build that runs has Config.Grace to end. It returns when that is done, and goes
// on also when ctx ends before. Errors: ErrNoWorker; Unavailable.
func (p *Provisioner) Delete(ctx context.Context, id string) error {
	task, there := p.fleet.mark(id)
	if !there { // another provisioner may just have made it
		if err := p.refresh(ctx); err != nil {
			return err
		}
		if task, there = p.fleet.mark(id); !there {
			return p.finish(ctx, id)
		}
	}
	done := make(chan error, 1)
	p.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.Grace+removeBound)
		defer cancel()
		err := p.remove(ctx, id, task)
		if err != nil {
			p.fleet.unmark(id)
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// finish removes what a deletion that was broken off has left of a worker whose task is gone. The volume goes last, so without one there is nothing.
func (p *Provisioner) finish(ctx context.Context, id string) error {
	by := driver.ListOptions{Labels: map[string]string{LabelRole: roleWorker, LabelWorker: id}}
	left, err := p.cfg.Driver.ListVolumes(ctx, by)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return fmt.Errorf("worker %q: %w", id, ErrNoWorker)
	}
	if err := p.sweep(ctx, id); err != nil {
		return err
	}
	_, err = removeVolumes(ctx, p.cfg.Driver, by)
	return err
}

// remove takes away a worker's task, what its build has left, and its volume, in this order: what is there still says that there is something to do.
func (p *Provisioner) remove(ctx context.Context, id string, task driver.Task) error {
	d := p.cfg.Driver
	if task.State == driver.StateStarting || task.State == driver.StateRunning {
		err := d.Stop(ctx, task.ID, driver.StopOptions{Grace: p.cfg.Grace})
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	if err := d.Remove(ctx, task.ID); err != nil {
		return err
	}
	p.fleet.removed(task.ID)
	p.poke()
	err := p.sweep(ctx, id)
	_, left := removeVolumes(ctx, d, driver.ListOptions{Labels: map[string]string{LabelRole: roleWorker, LabelWorker: id}})
	return errors.Join(err, left)
}

// removeVolumes removes those with certain labels, and returns how many there were.
func removeVolumes(ctx context.Context, d driver.Driver, by driver.ListOptions) (int, error) {
	volumes, err := d.ListVolumes(ctx, by)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, v := range volumes {
		errs = append(errs, d.RemoveVolume(ctx, v.ID))
	}
	return len(volumes), errors.Join(errs...)
}

// Prune deletes the workers that have ended longer ago than that, and returns their IDs.
func (p *Provisioner) Prune(ctx context.Context, longer time.Duration) ([]string, error) {
	var removed []string
	var errs []error
	for _, w := range p.Workers() {
		if !w.State.Final() || w.Ended == nil || time.Since(*w.Ended) < longer {
			continue
		}
		err := p.Delete(ctx, w.ID)
		if err == nil {
			removed = append(removed, w.ID)
		} else if !errors.Is(err, ErrNoWorker) {
			errs = append(errs, fmt.Errorf("worker %s: %w", w.ID, err))
		}
	}
	return removed, errors.Join(errs...)
}

// How often tidy looks, and how old something must be that belongs to no worker: whoever makes a worker makes its volume before.
const (
	tidyEvery = 10 * time.Minute
	orphanAge = 10 * time.Minute
)

// tidy removes workers that were kept long enough, and what provisioners and workers that died have left.
func (p *Provisioner) tidy() {
	for {
		if err := p.tidyOnce(p.ctx, time.Now()); err != nil && p.ctx.Err() == nil {
			p.log.Warn("not everything that is to be removed could be", "error", err)
		}
		if !p.pause(tidyEvery) {
			return
		}
	}
}

func (p *Provisioner) tidyOnce(ctx context.Context, now time.Time) error {
	if err := p.refresh(ctx); err != nil {
		return err
	}
	var errs []error
	for _, w := range p.Workers() {
		if half, is := p.fleet.broken(w.ID); is {
			p.log.Warn("removing a worker that was made by half: whoever asked for it got no answer", "worker", w.ID)
			errs = append(errs, p.remove(ctx, w.ID, half))
		}
		if w.State.Final() && w.Ended != nil && now.Sub(*w.Ended) > p.cfg.Keep {
			p.log.Warn("removing a worker that nobody has taken the results of", "worker", w.ID, "state", w.State, "ended", *w.Ended)
			errs = append(errs, p.Delete(ctx, w.ID))
		}
	}
	return errors.Join(append(errs, p.orphans(ctx, now))...)
}

// orphans removes volumes and builds' leftovers whose worker is not there. The workers have just been asked for.
func (p *Provisioner) orphans(ctx context.Context, now time.Time) error {
	volumes, err := p.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: map[string]string{LabelRole: roleWorker}})
	if err != nil {
		return err
	}
	old := func(labels map[string]string, created time.Time) bool {
		id := labels[LabelWorker]
		_, there := p.fleet.worker(id)
		return id != "" && !there && now.Sub(created) > orphanAge
	}
	var errs []error
	for _, v := range volumes {
		if old(v.Labels, v.Created) {
			p.log.Warn("removing the volume of a worker that is not there", "worker", v.Labels[LabelWorker])
			errs = append(errs, p.cfg.Driver.RemoveVolume(ctx, v.ID))
		}
	}
	if p.cfg.Builds == nil {
		return errors.Join(errs...)
	}
	left, err := p.cfg.Builds.List(ctx, driver.ListOptions{})
	if err != nil {
		return err
	}
	leftVolumes, err := p.cfg.Builds.ListVolumes(ctx, driver.ListOptions{})
	if err != nil {
		return err
	}
	dead := map[string]bool{}
	for _, t := range left {
		if old(t.Labels, t.Created) {
			dead[t.Labels[LabelWorker]] = true
		}
	}
	for _, v := range leftVolumes {
		if old(v.Labels, v.Created) {
			dead[v.Labels[LabelWorker]] = true
		}
	}
	for id := range dead {
		errs = append(errs, p.sweep(ctx, id))
	}
	return errors.Join(errs...)
}
