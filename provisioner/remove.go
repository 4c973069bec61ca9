package provisioner

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Delete stops a worker, whatever it does, and removes it with all that it has made: a build that runs has Config.Grace to end. It returns when that is done, and goes
// on also when ctx ends before. It may be repeated until nothing is left, also where the worker itself is gone. Errors: ErrNoWorker; ErrClosing; Unavailable.
func (p *Provisioner) Delete(ctx context.Context, id string) error { return p.delete(ctx, id, "") }

// delete deletes a worker, if of is its task or empty: one that was made anew since somebody decided that is another.
func (p *Provisioner) delete(ctx context.Context, id string, of driver.TaskID) error {
	task, there := p.fleet.mark(id, of)
	switch {
	case there:
	case of != "":
		return fmt.Errorf("worker %q: %w", id, ErrNoWorker)
	default: // another provisioner may just have made it
		if err := p.refresh(ctx); err != nil {
			return err
		}
		task, there = p.fleet.mark(id, of)
	}
	done := make(chan error, 1)
	accepted := p.spawn(func() {
		ctx, cancel := within(context.WithoutCancel(ctx), p.cfg.Grace+removeBound)
		defer cancel()
		if !there {
			done <- p.removeLeft(ctx, id)
			return
		}
		err := p.remove(ctx, id, task)
		if err != nil {
			p.fleet.unmark(task.ID)
		}
		done <- err
	})
	if !accepted {
		return ErrClosing
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// remove takes away what a worker's build has left, its task, and its volume, in this order: what is there still says that there is something to do, and as long as the
// task is there, no other has its name.
func (p *Provisioner) remove(ctx context.Context, id string, task driver.Task) error {
	d := p.cfg.Driver
	_, starting := p.starting.Load(task.ID)
	waited := task.State == driver.StateCreated && !starting // as far as this provisioner knows
	if task.State == driver.StateCreated || task.State == driver.StateStarting || task.State == driver.StateRunning {
		if err := d.Stop(ctx, task.ID, driver.StopOptions{Grace: p.cfg.Grace}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	end, err := p.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer end()
	clean, refusable := p.fleet.past(task.ID)
	clean = clean || waited && p.neverRan(ctx, task.ID)
	if !clean && task.State != driver.StateUnknown {
		if _, err := p.sweep(ctx, id, task.ID); err != nil {
			return err
		}
	}
	if err := d.Remove(ctx, task.ID); err != nil {
		return err
	}
	p.fleet.removed(task.ID)
	p.poke()
	errs := []error{d.RemoveVolume(ctx, VolumeOf(task))}
	if task.Incomplete { // a list that was asked for meanwhile may have had a part of it as a task of its own
		errs = append(errs, p.refresh(ctx))
	}
	if !clean && task.State < driver.StateStarting { // it may have been started until a moment ago
		_, err := p.sweep(ctx, id, task.ID)
		errs = append(errs, err)
	}
	if refusable {
		_, err := removeVolumes(ctx, d, notesOf(id, task.ID), all)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// turnBound is how long a removal keeps others waiting: some may hang, for a node that is gone.
const turnBound = 15 * time.Second

// takeTurn waits until few others remove something, since a runtime that is asked for too much at once does nothing in time, and returns the end of the turn.
func (p *Provisioner) takeTurn(ctx context.Context) (end func(), err error) {
	select {
	case p.removing <- struct{}{}:
		next := sync.OnceFunc(func() { <-p.removing })
		late := time.AfterFunc(turnBound, next)
		return func() {
			late.Stop()
			next()
		}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// neverRan reports whether a task that was stopped has never run, so that its build has left nothing.
func (p *Provisioner) neverRan(ctx context.Context, task driver.TaskID) bool {
	ctx, cancel := within(ctx, askBound)
	defer cancel()
	res, err := p.cfg.Driver.Wait(ctx, task)
	return err == nil && res.Outcome == driver.Stopped && res.Started.IsZero()
}

// workerID is made so; see workerID.
var workerForm = regexp.MustCompile(`^build-[0-9]{1,20}-[0-9a-f]{10}$`)

// removeLeft removes what is left of a worker whose task is gone.
func (p *Provisioner) removeLeft(ctx context.Context, id string) error {
	none := fmt.Errorf("worker %q: %w", id, ErrNoWorker)
	if !workerForm.MatchString(id) {
		return none
	}
	swept, err := p.sweep(ctx, id, "")
	n, left := removeVolumes(ctx, p.cfg.Driver, ofWorker(id), func(v driver.Volume) bool {
		_, making := p.making.Load(v.Name)
		return !making
	})
	if err := errors.Join(err, left); err != nil {
		return err
	}
	if swept+n == 0 {
		return none
	}
	p.log.Info("removed what was left of a worker that is gone", "worker", id, "objects", swept+n)
	return nil
}

// ofWorker selects what is a worker's own, its task and its volumes.
func ofWorker(id string) driver.ListOptions {
	return driver.ListOptions{Labels: map[string]string{LabelRole: RoleWorker, LabelWorker: id}}
}

func all(driver.Volume) bool { return true }

// removeVolumes removes those of certain labels that are meant, and returns how many these were.
func removeVolumes(ctx context.Context, d driver.Driver, by driver.ListOptions, meant func(driver.Volume) bool) (n int, err error) {
	volumes, err := d.ListVolumes(ctx, by)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, v := range volumes {
		if meant(v) {
			n++
			errs = append(errs, d.RemoveVolume(ctx, v.ID))
		}
	}
	return n, errors.Join(errs...)
}

// Prune deletes the workers that have ended longer ago than that, and returns their IDs.
func (p *Provisioner) Prune(ctx context.Context, longer time.Duration) ([]string, error) {
	var old []finished
	for _, w := range p.fleet.kept() {
		if time.Since(*w.Ended) >= longer {
			old = append(old, w)
		}
	}
	return p.deleteAll(ctx, old)
}

// deleteAll deletes workers, several at once, and returns the IDs of those that it has deleted.
func (p *Provisioner) deleteAll(ctx context.Context, old []finished) (deleted []string, err error) {
	var mu sync.Mutex
	var errs []error
	forAll(old, func(w finished) {
		err := p.delete(ctx, w.ID, w.task)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			deleted = append(deleted, w.ID)
		} else if !errors.Is(err, ErrNoWorker) {
			errs = append(errs, fmt.Errorf("worker %s: %w", w.ID, err))
		}
	})
	slices.Sort(deleted)
	return deleted, errors.Join(errs...)
}

// forAll calls f for each of several things, for some at once, so that one that hangs does not keep the others.
func forAll[T any](of []T, f func(T)) {
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, v := range of {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(v)
		})
	}
	wg.Wait()
}
