package kubernetes

import (
	"context"
	"errors"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Wait returns how a task ended. See [driver.Driver].
func (d *Driver) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	ctx, done := d.begin(ctx)
	defer done()
	res, err := d.wait(ctx, id)
	return res, driver.Wrap(ctx, "wait", string(id), classify(err))
}

func (d *Driver) wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return driver.Result{}, err
	}
	if _, err := d.pod(ctx, h); err != nil {
		return driver.Result{}, err
	}
	a, err := d.ask(ctx, h, wire.Request{Op: wire.OpWait}, nil)
	switch {
	case errors.Is(err, errGone):
		return driver.Result{Outcome: driver.Lost, Reason: "the pod was removed"}, nil
	case errors.Is(err, errKeeperGone):
		return d.afterwards(ctx, h)
	case err != nil:
		return driver.Result{}, err
	case a.Class == wire.Interrupted:
		return d.interrupted(ctx, h, a.Result)
	case a.Result == nil:
		return driver.Result{}, errors.New("the helper's answer has no result")
	}
	if a.Result.Termed { // the kubelet may be slow to tell the keeper
		if p := d.pods.look(h); p != nil && (p.DeletionTimestamp != nil || evicted(p) != "") {
			return d.interrupted(ctx, h, a.Result)
		}
	}
	res := resultOf(a.Result)
	if res.Outcome == driver.Unknown {
		return d.killed(ctx, h, res.Started)
	}
	return res, nil
}

// killed is the result of a task whose main container's process 1 was killed: what the kubelet has on record, as soon as it tells of it.
func (d *Driver) killed(ctx context.Context, h handle, started time.Time) (res driver.Result, err error) {
	err = d.until(ctx, h, func(p *core.Pod) (bool, error) {
		if why := evicted(p); why != "" {
			res = driver.Result{Outcome: driver.Evicted, Reason: why, Started: started}
			return true, nil
		}
		if p == nil || p.DeletionTimestamp != nil {
			res = driver.Result{Outcome: driver.Lost, Reason: "the pod was removed", Started: started}
			return true, nil
		}
		s := containerStatus(p, driver.MainContainer)
		if s == nil || s.State.Terminated == nil {
			return false, nil
		}
		res = ofContainer(s.State.Terminated, started)
		return true, nil
	})
	return res, err
}

// interrupted is the result of a task that ended while its pod was being ended from outside: what became of the pod decides.
func (d *Driver) interrupted(ctx context.Context, h handle, r *wire.Result) (res driver.Result, err error) {
	res = driver.Result{}
	if r != nil {
		res.Started, res.Ended = utc(r.Started), utc(r.Ended)
	}
	err = d.until(ctx, h, func(p *core.Pod) (bool, error) {
		switch why := evicted(p); {
		case why != "":
			res.Outcome, res.Reason = driver.Evicted, why
		case p == nil || p.DeletionTimestamp != nil:
			res.Outcome, res.Reason = driver.Lost, "the pod was removed"
		case terminal(p):
			res.Outcome, res.Reason = driver.Unknown, "the pod was ended: "+p.Status.Reason+" "+p.Status.Message
		default:
			return false, nil
		}
		return true, nil
	})
	return res, err
}

// afterwards is the result of a task whose keeper has ended: what it has left with the kubelet, or else what the kubelet knows.
func (d *Driver) afterwards(ctx context.Context, h handle) (res driver.Result, err error) {
	err = d.until(ctx, h, func(p *core.Pod) (bool, error) {
		if p == nil {
			res = driver.Result{Outcome: driver.Lost, Reason: "the pod was removed"}
			return true, nil
		}
		if stopped(p) {
			res = driver.Result{Outcome: driver.Stopped}
			return true, nil
		}
		if r := noted(p); r != nil && r.Outcome != "unknown" && !(r.Termed && evicted(p) != "") {
			res = resultOf(r)
			return true, nil
		}
		if why := evicted(p); why != "" {
			res = driver.Result{Outcome: driver.Evicted, Reason: why}
			return true, nil
		}
		if !terminal(p) {
			return false, nil
		}
		res = driver.Result{Reason: "the pod has ended, and nothing says how its command did: " + p.Status.Reason + " " + p.Status.Message}
		if why := keeperKilled(p); why != "" {
			res = driver.Result{Outcome: driver.Lost, Reason: why}
		} else if t := troubleOf(p); t != nil {
			res = driver.Result{Outcome: driver.StartFailed, Reason: t.Error()}
		}
		return true, nil
	})
	return res, err
}
