package provisioner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// How often tidy looks for workers that were kept long enough and for what is left of others, and how old something must be that belongs to no worker: whoever makes
// a worker makes its volume before.
const (
	tidyEvery = time.Minute
	orphanAge = 10 * time.Minute
)

// tidy removes workers that were kept long enough, and what provisioners and workers that died have left.
func (p *Provisioner) tidy() {
	for {
		now := time.Now()
		if err := errors.Join(p.expire(p.ctx, now), p.tidyOnce(p.ctx, now)); err != nil && p.ctx.Err() == nil {
			p.log.Warn("not everything that is to be removed could be", "error", err)
		}
		if !p.pause(tidyEvery) {
			return
		}
	}
}

// expire deletes the workers that were kept for long enough, and the oldest of those that are too many.
func (p *Provisioner) expire(ctx context.Context, now time.Time) error {
	ended := p.fleet.kept()
	tooMany := max(0, len(ended)-p.cfg.Limits.Finished)
	var old []finished
	for i, w := range ended {
		switch {
		case i < tooMany:
			p.log.Warn("removing a worker that nobody has taken the results of: there are too many", "worker", w.ID, "state", w.State, "ended", *w.Ended, "kept", p.cfg.Limits.Finished)
		case now.Sub(*w.Ended) > p.cfg.Keep:
			p.log.Warn("removing a worker that nobody has taken the results of", "worker", w.ID, "state", w.State, "ended", *w.Ended)
		default:
			continue
		}
		old = append(old, w)
	}
	_, err := p.deleteAll(ctx, old)
	return err
}

// tidyOnce removes what belongs to no worker, or to one that was made or removed by half.
func (p *Provisioner) tidyOnce(ctx context.Context, now time.Time) error {
	if err := p.refresh(ctx); err != nil {
		return err
	}
	var errs failures
	forAll(p.Workers(), func(w Worker) {
		if half, is := p.fleet.broken(w.ID); is && now.Sub(half.Created) > makeBound { // another provisioner may be at it, for as long
			p.log.Warn("removing a worker whose making or removal was broken off", "worker", w.ID)
			ctx, cancel := within(ctx, p.cfg.Grace+removeBound)
			defer cancel()
			errs.add(p.remove(ctx, w.ID, half))
		}
	})
	errs.add(p.orphanVolumes(ctx, now))
	errs.add(p.orphanBuilds(ctx, now))
	return errs.err
}

// failures are errors of several goroutines.
type failures struct {
	mu  sync.Mutex
	err error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
}

// orphanVolumes removes volumes of workers that are not there, or that have another. The workers have just been asked for.
func (p *Provisioner) orphanVolumes(ctx context.Context, now time.Time) error {
	var left []driver.Volume
	for _, role := range []string{RoleWorker, roleNote, RoleVerdict} {
		volumes, err := p.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: map[string]string{LabelRole: role}})
		if err != nil {
			return err
		}
		for _, v := range volumes {
			task, there := p.fleet.task(v.Labels[LabelWorker])
			belongs := there && (v.ID == VolumeOf(task) || v.Labels[LabelTask] == MarkOf(task.ID))
			if !belongs && now.Sub(v.Created) > orphanAge {
				left = append(left, v)
			}
		}
	}
	var errs failures
	forAll(left, func(v driver.Volume) {
		p.log.Warn("removing the volume of a worker that is not there", "worker", v.Labels[LabelWorker], "volume", v.Name)
		errs.add(p.cfg.Driver.RemoveVolume(ctx, v.ID))
	})
	return errs.err
}

// orphanBuilds removes what builds have left whose worker is not there.
func (p *Provisioner) orphanBuilds(ctx context.Context, now time.Time) error {
	if p.cfg.Builds == nil {
		return nil
	}
	tasks, err := p.cfg.Builds.List(ctx, driver.ListOptions{})
	if err != nil {
		return err
	}
	volumes, err := p.cfg.Builds.ListVolumes(ctx, driver.ListOptions{})
	if err != nil {
		return err
	}
	dead := map[string]bool{}
	look := func(labels map[string]string, created time.Time) {
		id := labels[LabelWorker]
		if _, there := p.fleet.task(id); id != "" && !there && now.Sub(created) > orphanAge {
			dead[id] = true
		}
	}
	for _, t := range tasks {
		look(t.Labels, t.Created)
	}
	for _, v := range volumes {
		look(v.Labels, v.Created)
	}
	var ids []string
	for id := range dead {
		ids = append(ids, id)
	}
	var errs failures
	forAll(ids, func(id string) {
		_, err := p.sweep(ctx, id, "")
		errs.add(err)
	})
	return errs.err
}
