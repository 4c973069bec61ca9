package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

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
	if e.InspectResponse == nil {
		return goneResult(e)
	}
	switch phaseOf(e.InspectResponse) {
	case phaseGoing:
		if !e.seen && e.State != nil && timeOf(e.State.FinishedAt).IsZero() || e.State == nil || e.State.ExitCode == 137 {
			return goneResult(exit{})
		}
	case phaseFailed:
		if strings.Contains(e.State.Error, "of a non running container") { // it is not the task's fault
			return driver.Result{Reason: "its sandbox does not run any more, as after a restart of the daemon: " + startReason(e.State.Error)}
		}
		return driver.Result{Outcome: driver.StartFailed, Code: e.State.ExitCode, Reason: startReason(e.State.Error)}
	case phaseMarked:
		switch markOf(e.InspectResponse) {
		case markRefused:
			return driver.Result{Outcome: driver.StartFailed, Reason: e.Config.Labels[labelRefused]}
		case markUnwritten:
			reason := "a secret could not be written into its container"
			if why, known := d.unwritten.Load(e.ID); known {
				reason += ": " + why.(string)
			}
			return driver.Result{Outcome: driver.StartFailed, Reason: reason}
		}
		return driver.Result{Outcome: driver.Stopped, Reason: "stopped before it was started"}
	}
	return d.exitResult(e)
}

func (d *Driver) exitResult(e exit) driver.Result {
	s := e.State
	res := driver.ResultOfCode(s.ExitCode)
	switch {
	case e.doubt != "":
		res = driver.Result{Reason: fmt.Sprintf("Docker records exit code %d, but %s", s.ExitCode, e.doubt)}
	case s.OOMKilled && s.ExitCode != 0:
		res = driver.Result{Outcome: driver.OutOfMemory, Code: s.ExitCode, Reason: "killed by the kernel for want of memory"}
	case e.starved != "":
		res = driver.Result{Outcome: driver.OutOfMemory, Code: s.ExitCode, Reason: e.starved}
	case s.ExitCode == 0 && d.doubtful(e):
		res = driver.Result{Reason: "Docker records exit code 0, but may have missed the end of the container"}
	case e.seen && e.code != int64(s.ExitCode) && (e.code == 0 || s.ExitCode == 0):
		res = driver.Result{Reason: "Docker told two different exit codes"}
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

// doubtful reports whether a recorded exit code 0 may be none: there is no time of the end, or the daemon is of a
// version that records 0 for containers that it lost (24.0.0 to 24.0.2, moby issue 45788)
// and did not tell the code while we waited.
func (d *Driver) doubtful(e exit) bool {
	if timeOf(e.State.FinishedAt).IsZero() {
		return true
	}
	version, _ := d.server.Load().(string)
	switch strings.TrimSuffix(version, "-ce") {
	case "24.0.0", "24.0.1", "24.0.2":
		return !e.seen
	}
	return false
}

// goneResult is that of a container which someone removed: what the daemon told while we waited counts,
// unless it is the kill that a removal begins with.
func goneResult(e exit) driver.Result {
	if e.seen && e.code != 137 {
		return driver.ResultOfCode(int(e.code))
	}
	return driver.Result{Outcome: driver.Lost, Reason: "the container was removed"}
}

// startReason leaves out what each layer of the daemon says about itself.
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
	if main.InspectResponse == nil || res.Outcome == driver.Lost {
		return res, nil
	}
	members, err := d.group(ctx, h)
	if err != nil {
		return driver.Result{}, err
	}
	if phaseOf(main.InspectResponse) == phaseMarked {
		return d.markResult(ctx, markOf(main.InspectResponse), members, res)
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
	var list []container.Summary
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
	if phaseOf(c) == phaseFailed {
		res.Reason = startReason(c.State.Error)
	}
	return res, nil
}
