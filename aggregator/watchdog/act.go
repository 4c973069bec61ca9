package watchdog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/client"
)

// act ends what is due, some at once, and returns what it has ended, or, in a dry run, would have. One that fails does not keep the others.
func (w *Watchdog) act(ctx context.Context, due []action) (ended []key, err error) {
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, a := range due {
		a.sight.tries++
		group.Go(func() error {
			kind, end := kindFail, w.fail
			if a.worker != nil {
				kind, end = kindDelete, w.delete
			}
			done, err := end(ctx, &a)
			mu.Lock()
			defer mu.Unlock()
			if done {
				ended = append(ended, a.key)
			}
			switch {
			case err != nil && ctx.Err() == nil:
				errs = append(errs, err)
				w.met.failed.WithLabelValues(kind).Inc()
				w.log.Warn("something could not be ended; it is tried again after the next look", "build", a.key.build, "worker", a.key.worker, "error", err)
			case done && !w.cfg.DryRun:
				w.met.actions.WithLabelValues(kind).Inc()
			}
			return nil
		})
	}
	_ = group.Wait()
	return ended, errors.Join(errs...)
}

// turn is the right to write, by the watchdog's own clock: of a process that is stopped, and goes on later, nothing is written that it decided before.
type turn struct{ until atomic.Pointer[time.Time] }

func (t *turn) last(d time.Duration) { t.until.Store(new(time.Now().Add(d))) }
func (t *turn) fence() time.Time     { return *t.until.Load() }

// open returns the sink's side of a build. Nobody knows who has written of it before.
func (w *Watchdog) open(build uint64) (sink.Report, *turn) {
	t := &turn{}
	t.last(failBound)
	return w.cfg.Sink.Open(build, sink.Turn{Fence: t.fence}), t
}

// fail gives a build without a worker its line, and has it fail. It reports whether it has, or, in a dry run, would have.
func (w *Watchdog) fail(ctx context.Context, a *action) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, failBound)
	defer cancel()
	report, turn := w.open(a.build.ID)
	defer report.Close()
	var n, told uint64
	if !w.cfg.DryRun {
		n, told, err = report.Find(ctx, Words)
	}
	if err != nil {
		return false, fmt.Errorf("build %d: %w", a.build.ID, err)
	}
	turn.last(writeBound)
	switch missing, err := w.missing(ctx, report, &a.build); {
	case err != nil:
		return false, fmt.Errorf("build %d: %w", a.build.ID, err)
	case !missing:
		w.log.Info("a build that had no worker is well", "build", a.build.ID)
		return false, nil
	}
	words := w.words(a)
	if w.cfg.DryRun {
		w.would(a, "a build has no worker; it would fail", "build", a.build.ID, "since", at(a.sight.first), "line", words)
		return true, nil
	}
	w.log.Warn("a build has no worker; it fails", "build", a.build.ID, "since", at(a.sight.first), "line", words)
	if told == 0 {
		err = report.Append(ctx, n, []sink.Line{{Time: time.Now(), Text: []byte(words)}})
		if err == nil {
			err = report.Commit(ctx)
		}
		if err != nil {
			return false, fmt.Errorf("build %d: its line: %w", a.build.ID, err)
		}
		if now, err := report.Status(ctx); err != nil || now.Final() { // it took its time
			return false, err
		}
	}
	if err := report.SetStatus(ctx, sink.Failed); err != nil {
		return false, fmt.Errorf("build %d: its state: %w", a.build.ID, err)
	}
	return true, nil
}

// would says what a dry run does not do, once.
func (w *Watchdog) would(a *action, what string, args ...any) {
	if !a.sight.told {
		w.log.Info(what, args...)
	}
	a.sight.told = true
}

// missing reports whether a build is active and has no worker, right now.
func (w *Watchdog) missing(ctx context.Context, report sink.Report, b *sink.Build) (bool, error) {
	active, err := w.active(ctx, report)
	if err != nil || !active {
		return false, err
	}
	all, err := w.workers(ctx)
	return err == nil && all.of(b) == nil, err
}

// active reports whether a build is active, right now.
func (w *Watchdog) active(ctx context.Context, report sink.Report) (bool, error) {
	now, err := report.Status(ctx)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil && !now.Final(), err
}

// delete deletes a worker whose build is not active. It reports whether it has, or, in a dry run, would have.
func (w *Watchdog) delete(ctx context.Context, a *action) (done bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, deleteBound, fmt.Errorf("it was not deleted within %s", deleteBound))
	defer cancel()
	report, _ := w.open(a.key.build)
	defer report.Close()
	switch active, err := w.active(ctx, report); {
	case err != nil:
		return false, fmt.Errorf("worker %s: %w", a.key.worker, err)
	case active:
		w.log.Info("a worker that nobody wanted is wanted", "worker", a.key.worker, "build", a.key.build)
		return false, nil
	}
	for _, p := range a.worker.at {
		there, err := same(ctx, p, a.key)
		if err != nil || !there {
			if err != nil {
				return done, fmt.Errorf("worker %s at %s: %w", a.key.worker, p, err)
			}
			continue
		}
		say := []any{"worker", a.key.worker, "build", a.key.build, "state", a.worker.State, "since", at(a.sight.first), "provisioner", p.String()}
		if w.cfg.DryRun {
			w.would(a, "nobody wants a worker; it would be deleted", say...)
			return true, nil
		}
		w.log.Warn("nobody wants a worker; it is deleted", say...)
		if err := p.Delete(ctx, a.key.worker); err != nil && !gone(err) {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return done, fmt.Errorf("worker %s at %s: %w", a.key.worker, p, err)
		}
		done = true
	}
	return done, nil
}

// same reports whether a provisioner has a worker as it was.
func same(ctx context.Context, p *client.Client, k key) (bool, error) {
	now, err := p.Worker(ctx, k.worker)
	if gone(err) {
		return false, nil
	}
	return err == nil && keyOf(&now) == k, err
}

// gone reports whether an error says that there is no such worker.
func gone(err error) bool {
	var p *provisioner.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}
