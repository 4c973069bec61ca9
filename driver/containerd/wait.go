//go:build linux

package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	s, err := d.settle(ctx, h, h.container)
	if err == nil {
		s, err = d.holdBack(ctx, h, s)
	}
	if err != nil {
		return driver.Result{}, err
	}
	return d.groupResult(ctx, h, s)
}

// removalTime is how long after a KILL that is not ours the record of the task may still be deleted.
const removalTime = time.Second

// holdBack tells a task that someone killed from one that someone removes, which begins with a KILL: only when the record of its
// end stays for a moment was it killed and no more.
func (d *Driver) holdBack(ctx context.Context, h handle, s standing) (standing, error) {
	if s.phase != phaseExited || s.task.ExitStatus != 128+9 || d.starved(s.ID) {
		return s, nil
	}
	left := removalTime - time.Since(s.task.ExitedAt.AsTime())
	if _, err := os.Stat(d.killedFile(h)); err == nil || left <= 0 || left > removalTime {
		return s, nil
	}
	timed, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	later, err := d.until(timed, h, h.container, true, func(p phase) bool { return p == phaseVanished })
	switch {
	case err == nil:
		return later, nil
	case notFound(err):
		return standing{phase: phaseGoing}, nil
	case ctx.Err() != nil:
		return s, context.Cause(ctx)
	}
	return s, nil
}

// result reads the record of one container that has ended.
func (d *Driver) result(h handle, s standing) driver.Result {
	switch s.phase {
	case phaseGoing:
		return driver.Result{Outcome: driver.Lost, Reason: "the task was removed"}
	case phaseVanished:
		return driver.Result{
			Outcome: driver.Lost,
			Reason:  "containerd has no record of its end: its shim was killed, its task was deleted, or the machine was restarted",
			Started: d.startedAt(h, s.Container),
		}
	case phaseMarked:
		if s.Labels[labelMark] == markStopped {
			return driver.Result{Outcome: driver.Stopped, Reason: "stopped before it was started"}
		}
		return driver.Result{Outcome: driver.StartFailed, Reason: s.Labels[labelReason]}
	case phaseExited:
		return d.exitResult(h, s)
	}
	return driver.Result{}
}

func (d *Driver) exitResult(h handle, s standing) driver.Result {
	code := int(s.task.ExitStatus)
	res := driver.ResultOfCode(code)
	if s.task.ExitedAt == nil || s.task.ExitedAt.AsTime().Unix() <= 0 {
		res = driver.Result{Outcome: driver.Lost, Reason: fmt.Sprintf("containerd records exit code %d without a time, which it does of a task that it lost", code)}
	} else if code != 0 && d.starved(s.ID) {
		res = driver.Result{Outcome: driver.OutOfMemory, Code: code, Reason: "the kernel killed a process of it for want of memory"}
	}
	res.Started = d.startedAt(h, s.Container)
	if s.task.ExitedAt != nil {
		res.Ended = s.task.ExitedAt.AsTime().UTC()
	}
	if res.Ended.Before(res.Started) {
		res.Ended = res.Started
	}
	return res
}

// starved reports whether the kernel has killed a process of the container for want of memory. The control group
// stays until the task's record is deleted, and its counter misses nothing: containerd's event of it may come after the exit,
// or never, if the kill came before the shim listened (containerd issue 8180).
func (d *Driver) starved(id string) bool {
	for _, file := range []string{
		filepath.Join("/sys/fs/cgroup/memory", d.cgroup(id), "memory.oom_control"),
		filepath.Join("/sys/fs/cgroup", d.cgroup(id), "memory.events"),
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				count, _ := strconv.Atoi(strings.TrimSpace(n))
				return count > 0
			}
		}
	}
	return false
}

// cgroup is the path of a container's control group.
func (d *Driver) cgroup(id string) string { return d.cfg.Cgroup + "/" + id }

// groupResult adds to the main container's end what init containers and services did.
func (d *Driver) groupResult(ctx context.Context, h handle, main standing) (driver.Result, error) {
	res := d.result(h, main)
	if main.phase == phaseGoing || main.Labels[labelMembers] == "" {
		return res, nil
	}
	g, err := d.group(ctx, h)
	if err != nil {
		return driver.Result{}, err
	}
	if main.phase == phaseMarked {
		return d.markResult(ctx, h, main, g, res)
	}
	for _, c := range g.services {
		s, err := d.inspect(ctx, h, c.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return driver.Result{}, err
		}
		if s.phase != phaseExited {
			continue
		}
		if died := d.exitResult(h, s); !res.Ended.IsZero() && died.Ended.Before(res.Ended) {
			return driver.Result{
				Outcome: driver.ServiceFailed, Container: nameOf(c), Code: int(s.task.ExitStatus),
				Reason: "it ended while the main container ran", Started: res.Started, Ended: res.Ended,
			}, nil
		}
	}
	return res, nil
}

// markResult is that of a task whose main container never ran.
func (d *Driver) markResult(ctx context.Context, h handle, main standing, g members, res driver.Result) (driver.Result, error) {
	mark, name, _ := strings.Cut(main.Labels[labelMark], ":")
	switch mark {
	case markInit:
		res = driver.Result{Outcome: driver.InitFailed}
	case markDied:
		res = driver.Result{Outcome: driver.ServiceFailed, Reason: "it ended before it was ready"}
	case markNotReady:
		return driver.Result{Outcome: driver.ServiceFailed, Container: name, Code: -1, Reason: "it was not ready in time"}, nil
	default:
		return res, nil
	}
	res.Container = name
	for _, c := range append(g.inits, g.services...) {
		if nameOf(c) != name {
			continue
		}
		s, err := d.inspect(ctx, h, c.ID)
		if err != nil {
			return res, err
		}
		own := d.result(h, s)
		res.Code, res.Ended = own.Code, own.Ended
		if own.Reason != "" {
			res.Reason = own.Reason
		}
		if own.Outcome == driver.StartFailed {
			res.Code = 127 // what a shell says
		}
	}
	return res, nil
}
