package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// containerStatus is what the kubelet says of a container, or nil.
func containerStatus(p *core.Pod, name string) *core.ContainerStatus {
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.Name == name {
			return s
		}
	}
	return nil
}

func terminal(p *core.Pod) bool {
	return p.Status.Phase == core.PodFailed || p.Status.Phase == core.PodSucceeded
}

// keeperEnded reports whether the keeper cannot be asked any more, or is not to be: of a stopped task it knows nothing.
func keeperEnded(p *core.Pod) bool {
	s := containerStatus(p, keeper)
	return stopped(p) || terminal(p) || s != nil && s.State.Terminated != nil
}

// waits reports whether a container of the pod has not run yet.
func waits(p *core.Pod, container string) bool {
	s := containerStatus(p, container)
	return !terminal(p) && (s == nil || s.State.Running == nil && s.State.Terminated == nil)
}

// neverStarted reports whether some container has not run yet: the keeper, which is told to start when all do, has started nothing.
func neverStarted(p *core.Pod) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c core.Container) bool { return waits(p, c.Name) })
}

func keeperRuns(p *core.Pod) bool {
	s := containerStatus(p, keeper)
	return s != nil && s.State.Running != nil
}

// keeperKilled says that the keeper was killed, and has left no result: what the task did is lost with it.
func keeperKilled(p *core.Pod) string {
	s := containerStatus(p, keeper)
	if s == nil || s.State.Terminated == nil || s.State.Terminated.ExitCode <= 128 || noted(p) != nil {
		return ""
	}
	return fmt.Sprintf("the keeper, which starts the task's containers and knows how they end, was killed (exit code %d)", s.State.Terminated.ExitCode)
}

// allRun reports whether every container runs: each waits for its turn, or has had it.
func allRun(p *core.Pod) bool {
	for i := range p.Spec.Containers {
		s := containerStatus(p, p.Spec.Containers[i].Name)
		if s == nil || s.State.Running == nil {
			return false
		}
	}
	return true
}

// evicted returns why the cluster takes the pod off its node, or "", also of none. A condition tells so before the pod is deleted; one of an attempt that
// the pod has outlived says nothing.
func evicted(p *core.Pod) string {
	if p == nil {
		return ""
	}
	if p.Status.Reason == "Evicted" || p.Status.Reason == "Preempting" || p.Status.Reason == "NodeShutdown" || p.Status.Reason == "Terminated" {
		return p.Status.Reason + ": " + p.Status.Message
	}
	for _, c := range p.Status.Conditions {
		if c.Type != core.DisruptionTarget || c.Status != core.ConditionTrue {
			continue
		}
		emptied := c.Reason == "EvictionByEvictionAPI" || c.Reason == core.PodReasonPreemptionByScheduler || c.Reason == core.PodReasonTerminationByKubelet
		if terminal(p) || p.DeletionTimestamp != nil && emptied { // for other reasons pods are deleted whose node is gone
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

// leaving returns why a pod that runs is about to be taken off its node, or "".
func leaving(p *core.Pod) string {
	if why := evicted(p); why != "" {
		return why
	}
	for _, c := range p.Status.Conditions {
		if c.Type == core.DisruptionTarget && c.Status == core.ConditionTrue {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

// noted is the result that the keeper has left with the kubelet, or nil.
func noted(p *core.Pod) *wire.Result {
	s := containerStatus(p, keeper)
	var r wire.Result
	if s == nil || s.State.Terminated == nil || json.Unmarshal([]byte(s.State.Terminated.Message), &r) != nil {
		return nil
	}
	return &r
}

// resultOf turns what the helper says into the contract's words.
func resultOf(r *wire.Result) driver.Result {
	var o driver.Outcome
	_ = o.UnmarshalText([]byte(r.Outcome)) // never fails: what is unknown stays Unknown
	res := driver.Result{Outcome: o, Code: r.Code, Container: r.Container, Reason: r.Reason, Started: utc(r.Started), Ended: utc(r.Ended)}
	if o == driver.Signaled {
		res.Signal = r.Signal
	}
	return res
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// ofContainer is the result by the kubelet's record of a container whose process 1 was killed. Exit code 0 is no
// success here: it is that of the helper.
func ofContainer(t *core.ContainerStateTerminated, started time.Time) driver.Result {
	res := driver.ResultOfCode(int(t.ExitCode))
	if t.Reason == "OOMKilled" {
		res = driver.Result{Outcome: driver.OutOfMemory, Code: int(t.ExitCode)}
	}
	if res.Succeeded() {
		res = driver.Result{Reason: "the container has ended without a record of its command"}
	}
	res.Started, res.Ended = started, t.FinishedAt.UTC()
	if res.Ended.Before(started) { // the kubelet counts whole seconds
		res.Ended = started
	}
	return res
}

// reachable waits until the keeper can be called. errGone and errKeeperGone say that it never can.
func (d *Driver) reachable(ctx context.Context, h handle) error {
	return d.until(ctx, h, func(p *core.Pod) (bool, error) {
		switch {
		case p == nil:
			return false, errGone
		case keeperEnded(p):
			return false, errKeeperGone
		}
		return keeperRuns(p), nil
	})
}

var errKeeperGone = errors.New("the pod has ended")

// lost is the error of a call whose task is no more.
func lost(err error) error {
	switch {
	case errors.Is(err, errGone):
		return errNoTask
	case errors.Is(err, errKeeperGone):
		return driver.WithClass(errdefs.ErrFailedPrecondition, "the task has ended, and what was in its pod is lost")
	}
	return err
}

// tries limits how long the API server is asked again.
type tries struct {
	patience time.Duration
	since    time.Time
}

func (d *Driver) tries() *tries { return &tries{patience: d.cfg.Patience} }

// failing reports whether the last attempt failed.
func (t *tries) failing() bool { return !t.since.IsZero() }

func (t *tries) good() { t.since = time.Time{} }

// failed returns an error when there have been enough attempts.
func (t *tries) failed(err error) error {
	if t.since.IsZero() {
		t.since = time.Now()
	}
	if time.Since(t.since) > t.patience {
		return driver.WithClass(errdefs.ErrUnavailable, "the task was not reached for %s: %v", t.patience, err)
	}
	return nil
}

// comingUp is the state of a task of which its keeper knows nothing yet: started, if Start has lifted the gate that it was made with.
func comingUp(p *core.Pod) driver.State {
	if p.Annotations[noteGated] != "" && !gated(p, gateStart) {
		return driver.StateStarting
	}
	return driver.StateCreated
}

// whyWaiting says, for a person, why a pod is not further.
func whyWaiting(p *core.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Reason == core.PodReasonSchedulingGated && len(p.Spec.SchedulingGates) == 0 {
			continue // no more: the scheduler has not looked yet
		}
		if c.Type == core.PodScheduled && c.Status == core.ConditionFalse && c.Message != "" {
			return fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	for i := range p.Status.ContainerStatuses {
		if w := p.Status.ContainerStatuses[i].State.Waiting; w != nil && w.Reason != "" {
			return fmt.Sprintf("%s: %s", w.Reason, w.Message)
		}
	}
	return ""
}
