package kubernetes

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Start lets the keeper start the containers. See [driver.Driver].
func (d *Driver) Start(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "start", string(id), classify(d.start(ctx, id)))
}

func (d *Driver) start(ctx context.Context, id driver.TaskID) error {
	h, err := d.parse(string(id))
	if err != nil {
		return err
	}
	p, err := d.pod(ctx, h)
	if err != nil {
		return err
	}
	if gated(p, gateComplete) { // or it is no more, and the watch has not told yet
		if p, err = d.podNow(ctx, h); err != nil {
			return err
		}
	}
	if stopped(p) {
		return nil // it has ended, as Wait says
	}
	if gated(p, gateComplete) {
		return driver.WithClass(errdefs.ErrFailedPrecondition, "the task is not complete: %s", inMaking)
	}
	if gated(p, gateStart) {
		if err := d.lift(ctx, p, gateStart); err != nil && !apierrors.IsInvalid(err) {
			return err
		}
	}
	// The pod of another process's Create, or a gated one, may still be on its way.
	err = d.until(ctx, h, func(now *core.Pod) (bool, error) {
		if now == nil {
			return false, errNoTask
		}
		p = now
		return allRun(now) || keeperEnded(now) || troubleOf(now) != nil, nil
	})
	if err != nil {
		return err
	}
	if keeperEnded(p) {
		return nil // it has ended, as Wait says
	}
	if err := troubleOf(p); err != nil && !allRun(p) {
		if d.stoppedByKeeper(ctx, p) {
			return nil
		}
		class := classOfWords(err.Error())
		if class == nil || class == errdefs.ErrNotFound { // it is the image that is not there, and not the task
			class = errdefs.ErrFailedPrecondition
		}
		return driver.WithClass(class, "%s", err)
	}
	prefixes, err := d.prefixes(ctx, p)
	if err != nil {
		return err
	}
	_, err = d.ask(ctx, h, wire.Request{Op: wire.OpStart, Prefix: prefixes}, nil)
	switch {
	case errors.Is(err, errGone):
		return errNoTask
	case errors.Is(err, errKeeperGone):
		return nil
	}
	return err
}

// stoppedByKeeper reports whether the task of a pod in trouble has ended all the same: Stop needs only the keeper.
func (d *Driver) stoppedByKeeper(ctx context.Context, p *core.Pod) bool {
	if !keeperRuns(p) {
		return false
	}
	a, err := d.stateCall(ctx, p.Name)
	return err == nil && stateOf(a.State) == driver.StateEnded
}

func gated(p *core.Pod, gate string) bool {
	for _, g := range p.Spec.SchedulingGates {
		if g.Name == gate {
			return true
		}
	}
	return false
}
