package watchdog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/client"
)

// view is what both sides have.
type view struct {
	builds  []sink.Build // those that a worker is looked for of
	active  map[uint64]bool
	workers roster
	several bool // instances had workers, of which nobody has said which is ours
}

// worker is a worker, and the provisioners that have it.
type worker struct {
	provisioner.Worker
	at []*client.Client
}

// roster are the workers that there are.
type roster struct {
	all     map[string]*worker // by ID
	byBuild map[uint64]*worker
}

// of returns a worker of a build, or nil. One by another name counts: whoever runs the build is not missing.
func (r *roster) of(b *sink.Build) *worker {
	if w := r.byBuild[b.ID]; w != nil {
		return w
	}
	return r.all[b.Worker]
}

// errSink and errProvisioner say who did not answer.
var (
	errSink        = errors.New("the sink does not say which builds are active")
	errProvisioner = errors.New("a provisioner does not say which workers there are")
)

// look asks both sides. The builds come first: the worker of one that begins meanwhile is seen.
func (w *Watchdog) look(ctx context.Context) (*view, error) {
	builds, err := w.cfg.Sink.Active(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSink, err)
	}
	v := &view{active: map[uint64]bool{}}
	for _, b := range builds {
		v.active[b.ID] = true
		if len(w.cfg.Engines) == 0 || slices.Contains(w.cfg.Engines, b.Engine) {
			v.builds = append(v.builds, b)
		}
	}
	if v.workers, err = w.workers(ctx); err != nil {
		return nil, err
	}
	for _, one := range v.workers.all {
		w.instances[one.Instance] = true
	}
	v.several = len(w.cfg.Instances) == 0 && len(w.instances) > 1
	return v, nil
}

// workers asks every provisioner. Each has to answer, and its runtime too: what one that has lost its runtime tells is old.
func (w *Watchdog) workers(ctx context.Context) (roster, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askBound, fmt.Errorf("there is no answer within %s", askBound))
	defer cancel()
	lists := make([][]provisioner.Worker, len(w.cfg.Provisioners))
	group, inner := errgroup.WithContext(ctx)
	for i, p := range w.cfg.Provisioners {
		group.Go(func() (err error) {
			if err = p.Ready(inner); err == nil { // before the list, which is no older then than this
				lists[i], err = p.Workers(inner)
			}
			if err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				return fmt.Errorf("%w: %s: %w", errProvisioner, p, err)
			}
			return nil
		})
	}
	r := roster{all: map[string]*worker{}, byBuild: map[uint64]*worker{}}
	if err := group.Wait(); err != nil {
		return r, err
	}
	for i, list := range lists {
		for _, one := range list {
			if !w.ours(&one) {
				continue
			}
			if known := r.all[one.ID]; known != nil { // two provisioners serve one runtime
				known.at = append(known.at, w.cfg.Provisioners[i])
				continue
			}
			r.all[one.ID] = &worker{one, []*client.Client{w.cfg.Provisioners[i]}}
			r.byBuild[one.Build] = r.all[one.ID]
		}
	}
	return r, nil
}

// ours reports whether a worker is one of the sink's. One without a build was made by nobody we know.
func (w *Watchdog) ours(one *provisioner.Worker) bool {
	return one.Build != 0 && one.State != provisioner.Removed && (len(w.cfg.Instances) == 0 || slices.Contains(w.cfg.Instances, one.Instance))
}
