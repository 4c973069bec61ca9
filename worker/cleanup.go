package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Bounds of the clean-up at the end of a build: a runtime that is away may come back.
const (
	cleanBound  = time.Minute
	awayBound   = 20 * time.Second // of which it may be away so long
	forcedBound = 15 * time.Second // from the moment when the build is stopped by force, for all that follows
)

// ErrLeft is what the error of [Build.Run] matches if something of the build may be left on the runtime.
var ErrLeft = errors.New("not everything could be removed from the runtime")

// bounded calls f and returns its error, or that of ctx if it ends first: what the runtime was asked for in vain is not waited for.
func bounded(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// each calls f for all elements at once, a few at a time, and joins the errors.
func each[T any](all []T, f func(T) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	room := make(chan struct{}, 8)
	for i, one := range all {
		room <- struct{}{}
		wg.Go(func() {
			errs[i] = f(one)
			<-room
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// cleanUp removes everything that the build made, whatever became of it.
func (e *engine) cleanUp() error {
	if e.stopped() != nil {
		e.doubt.Store(true)
	}
	e.stopCause(&verdict{Cancelled, "the build has ended"})
	ctx, cancel := context.WithTimeoutCause(e.patience, cleanBound, fmt.Errorf("the runtime did not do it within %s", cleanBound))
	defer cancel()
	if err := bounded(ctx, func() error { return e.empty(ctx) }); err != nil {
		tasks, volumes := len(e.made.left()), len(e.made.volumes())
		return fmt.Errorf("%w: of build %s there may be left %d tasks, %d volumes, %d networks: %w", ErrLeft, e.cfg.ID, tasks, volumes, e.lanes.count(), err)
	}
	return nil
}

// empty waits for what goes on in the background and removes what is there, again and again while the runtime is away.
func (e *engine) empty(ctx context.Context) error {
	e.made.discard(func(*prep) bool { return true })
	e.made.background.Wait()
	var away time.Time
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := e.removeAll(ctx)
		if err == nil || !errdefs.IsUnavailable(err) {
			return err
		}
		e.doubt.Store(true)
		if away.IsZero() {
			away = time.Now()
		} else if time.Since(away) > awayBound {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// removeAll removes what is known to be there, and if in doubt what bears the build's label.
func (e *engine) removeAll(ctx context.Context) error {
	if !e.cfg.Keep {
		err := each(e.made.left(), func(id driver.TaskID) error {
			err := e.d.Remove(ctx, id)
			if err == nil {
				e.made.gone(id)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	var volumes []func() error
	if !e.cfg.Keep {
		for _, id := range e.made.volumes() {
			volumes = append(volumes, func() error { return e.d.RemoveVolume(ctx, id) })
		}
	}
	removals := append(volumes, func() error { return e.lanes.remove(ctx) })
	if err := each(removals, func(f func() error) error { return f() }); err != nil || !e.doubt.Load() {
		return err
	}
	return e.sweep(ctx)
}

// sweep removes what bears the build's label.
func (e *engine) sweep(ctx context.Context) error {
	by := e.mine()
	if !e.cfg.Keep {
		tasks, err := e.d.List(ctx, by)
		if err != nil {
			return err
		}
		if err := each(tasks, func(t driver.Task) error { return e.d.Remove(ctx, t.ID) }); err != nil {
			return err
		}
	}
	if e.caps.Sandboxes {
		sandboxes, err := driver.ListSandboxes(ctx, e.d, by)
		if err != nil {
			return err
		}
		if err := each(sandboxes, func(s driver.Sandbox) error { return driver.RemoveSandbox(ctx, e.d, s.ID) }); err != nil {
			return err
		}
	}
	if e.cfg.Keep {
		return nil
	}
	volumes, err := e.d.ListVolumes(ctx, by)
	if err != nil {
		return err
	}
	return each(volumes, func(v driver.Volume) error { return e.d.RemoveVolume(ctx, v.ID) })
}
