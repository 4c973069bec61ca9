package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Stop ends a task. See [driver.Driver]. The keeper sees to the grace time, also when ctx has ended.
func (d *Driver) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "stop", string(id), classify(d.stop(ctx, id, opts)))
}

func (d *Driver) stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	if opts.Grace < 0 {
		return driver.WithClass(errdefs.ErrInvalidArgument, "Grace: must not be negative")
	}
	h, err := d.parse(string(id))
	if err != nil {
		return err
	}
	p, err := d.pod(ctx, h)
	if err != nil {
		return err
	}
	if waitsForKeeper(p) {
		if err := d.stopEarly(ctx, h); err != nil {
			return err
		}
	}
	_, err = d.ask(ctx, h, wire.Request{Op: wire.OpStop, Grace: opts.Grace}, nil)
	switch {
	case errors.Is(err, errGone):
		return errNoTask
	case errors.Is(err, errKeeperGone):
		return nil
	}
	return err
}

// stopped reports whether Stop came before the keeper. The pod may still come up, but nothing is started in it.
func stopped(p *core.Pod) bool { return p.Annotations[noteStopped] != "" }

const whyStopped = "it was stopped before its pod came to run"

// waitsForKeeper reports whether there is no keeper yet that could be told to stop, and perhaps never one.
func waitsForKeeper(p *core.Pod) bool { return waits(p, keeper) && !stopped(p) }

// stopEarly ends a task that has no keeper yet, and returns when this driver value knows, or when there is a keeper to ask.
func (d *Driver) stopEarly(ctx context.Context, h handle) error {
	var b backoff
	for t := d.tries(); ; {
		p, err := d.podNow(ctx, h)
		if err == nil && waitsForKeeper(p) {
			err = d.recordStop(ctx, p)
		}
		switch {
		case err == nil:
			return d.until(ctx, h, func(p *core.Pod) (bool, error) { return p == nil || !waitsForKeeper(p), nil })
		case apierrors.IsConflict(err):
			continue // something came first: perhaps the keeper
		case !unreachable(err) && !(t.failing() && refused(err)):
			return err
		}
		if err := t.failed(err); err != nil {
			return err
		}
		if !b.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

// recordStop writes on a pod without a keeper that its task was stopped, if the pod is still as it was seen. So whoever sees the keeper run, and no record, knows
// that there never will be one, and may start the task. The gates stay; a pod that has none any more is ended by its node as soon as one has it.
func (d *Driver) recordStop(ctx context.Context, p *core.Pod) error {
	type object = map[string]any
	patch, err := json.Marshal(object{
		"metadata": object{
			"uid": p.UID, "resourceVersion": p.ResourceVersion,
			"annotations": object{noteStopped: time.Now().UTC().Format(time.RFC3339Nano)},
		},
		"spec": object{"activeDeadlineSeconds": 1},
	})
	if err != nil {
		return err
	}
	_, err = d.api.CoreV1().Pods(d.namespace).Patch(ctx, p.Name, types.MergePatchType, patch, meta.PatchOptions{})
	return err
}
