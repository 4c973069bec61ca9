package podman

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
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
	if h.group != "" {
		d.supervise(h)
	}
	e, err := d.settle(ctx, h.container)
	if err != nil {
		return driver.Result{}, err
	}
	if h.group != "" {
		return d.groupResult(ctx, h, e)
	}
	return d.result(e), nil
}

// result reads the record of a container that has ended.
func (d *Driver) result(e exit) driver.Result {
	if e.inspected == nil {
		return driver.Result{Outcome: driver.Lost, Reason: "the container was removed"}
	}
	switch phaseOf(e.inspected) {
	case phaseGoing:
		return driver.Result{Outcome: driver.Lost, Reason: "the container was removed"}
	case phaseFailed:
		if e.mark == markSandbox { // it is not the task's fault
			return driver.Result{Reason: "its sandbox does not run any more, as after a restart of the machine: " + startReason(e.reason)}
		}
		reason := e.reason
		if reason == "" {
			reason = e.State.Error
		}
		return driver.Result{Outcome: driver.StartFailed, Code: startCode(e.inspected), Reason: startReason(reason)}
	case phaseMarked:
		if e.mark == markRefused {
			return driver.Result{Outcome: driver.StartFailed, Reason: e.Config.Labels[labelRefused]}
		}
		return driver.Result{Outcome: driver.Stopped, Reason: "stopped before it was started"}
	}
	return exitResult(e)
}

// exitResult trusts a record only if it is one of an end. A machine that went down leaves containers that have a
// start and no end, and so does a container that was prepared for another start: their exit code is 0.
func exitResult(e exit) driver.Result {
	s := e.State
	res := driver.ResultOfCode(s.ExitCode)
	ended := s.Status == stateExited || s.Status == stateStopped
	switch {
	case e.bereft:
		res = driver.Result{Outcome: driver.Lost, Reason: bereftReason}
	case !ended || timeOf(s.FinishedAt).IsZero() || s.FinishedAt.Before(s.StartedAt.Add(-time.Minute)):
		res = driver.Result{Reason: fmt.Sprintf("Podman has no record of the end of the container; it calls it %s", s.Status)}
	case s.OOMKilled && s.ExitCode != 0:
		res = driver.Result{Outcome: driver.OutOfMemory, Code: s.ExitCode, Reason: "killed by the kernel for want of memory"}
	case e.starved:
		res = driver.Result{
			Outcome: driver.OutOfMemory, Code: s.ExitCode,
			Reason: fmt.Sprintf("killed, and by nobody who asked Podman to, under a memory limit of %d bytes", e.HostConfig.Memory),
		}
	}
	res.Started, res.Ended = timeOf(s.StartedAt), timeOf(s.FinishedAt)
	if res.Ended.Before(res.Started) {
		res.Ended = res.Started
	}
	if s.Error != "" && res.Reason == "" {
		res.Reason = s.Error
	}
	return res
}

const bereftReason = "its monitor, conmon, was killed or crashed, and with it the rest of its output and how it ended were lost"

// startCode is what a shell would say of a container that could not be started; Podman often has no code on record.
func startCode(c *inspected) int {
	switch {
	case c.State.ExitCode != 0:
		return c.State.ExitCode
	case strings.Contains(c.reason, "permission denied"):
		return 126
	}
	return 127
}

// startReason leaves out what each layer of the service says about itself.
func startReason(s string) string {
	s = strings.TrimSuffix(s, ": unknown")
	for _, p := range []string{
		"failed to create task for container: ", "failed to create shim task: ", "OCI runtime create failed: ", "runc create failed: ",
		"unable to start container process: ", "error during container init: ",
	} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}

// groupResult adds to the main container's end what init containers and services did.
func (d *Driver) groupResult(ctx context.Context, h handle, main exit) (driver.Result, error) {
	res := d.result(main)
	if main.inspected == nil || res.Outcome == driver.Lost {
		return res, nil
	}
	members, err := d.group(ctx, h)
	if err != nil {
		return driver.Result{}, err
	}
	if phaseOf(main.inspected) == phaseMarked {
		return d.markResult(ctx, main.mark, members, res)
	}
	for _, m := range members.services {
		c, err := d.inspect(ctx, m.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return driver.Result{}, err
		}
		died := timeOf(c.State.FinishedAt)
		if phaseOf(c) == phaseExited && !res.Ended.IsZero() && died.Before(res.Ended) && !timeOf(c.State.StartedAt).IsZero() {
			return driver.Result{
				Outcome: driver.ServiceFailed, Container: m.Labels[labelContainer], Code: c.State.ExitCode,
				Reason: "it ended while the main container ran", Started: res.Started, Ended: res.Ended,
			}, nil
		}
	}
	return res, nil
}

// markResult is that of a task whose main container never ran.
func (d *Driver) markResult(ctx context.Context, mark int, g members, res driver.Result) (driver.Result, error) {
	var list []listed
	i := mark % 1000
	switch mark - i {
	case markInit:
		list, res = g.inits, driver.Result{Outcome: driver.InitFailed}
	case markDied:
		list, res = g.services, driver.Result{Outcome: driver.ServiceFailed, Reason: "it ended before it was ready"}
	case markNotReady:
		list, res = g.services, driver.Result{Outcome: driver.ServiceFailed, Code: -1, Reason: "it was not ready in time"}
	default:
		return res, nil
	}
	if i >= len(list) {
		return driver.Result{Reason: "the container that failed is gone"}, nil
	}
	res.Container = list[i].Labels[labelContainer]
	c, err := d.inspect(ctx, list[i].ID)
	if err != nil || res.Code == -1 {
		return res, err
	}
	res.Code, res.Ended = c.State.ExitCode, timeOf(c.State.FinishedAt)
	if c.bereft {
		res.Code, res.Reason = -1, bereftReason
	}
	if phaseOf(c) == phaseFailed {
		res.Reason, res.Code = startReason(c.reason), startCode(c)
	}
	return res, nil
}
