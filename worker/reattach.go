package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/lease"
)

// A build whose process has died is gone on with like this. The journal says of each step how far it came; Starting is written there before the runtime is
// asked to start a task. So of the tasks that the runtime has,
//
//   - that of an attempt that was being started may run, or may have ended: it is followed, from where the journal's log ends, and
//     started again, which the contract makes harmless;
//   - any other has never been started: it is removed, and made anew when its turn comes;
//   - one that should be there and is not was removed by someone else: its step is lost, and not run a second time.

// found are the tasks that were being started when the earlier process died.
type found map[attemptOf]driver.TaskID

// attemptOf is one attempt of a step.
type attemptOf struct {
	step    string
	attempt int
}

// mine are the labels of everything that the build has made.
func (e *engine) mine() driver.ListOptions {
	return driver.ListOptions{Labels: map[string]string{lease.LabelBuild: e.cfg.ID, lease.LabelHost: e.labels[lease.LabelHost]}}
}

// find looks for the tasks of an earlier process, and removes those that were never started.
func (e *engine) find() error {
	e.found = found{}
	if !e.past.resumed {
		return nil
	}
	e.doubt.Store(true)
	tasks, err := e.d.List(e.patience, e.mine())
	if err != nil {
		return fmt.Errorf("looking for the steps that were running: %w", err)
	}
	var never []driver.Task // or they have ended, and that was recorded
	for _, t := range tasks {
		of := attemptOf{step: t.Labels[LabelStep]}
		of.attempt, _ = strconv.Atoi(t.Labels[LabelAttempt])
		switch {
		case e.runs(of, &t):
			e.found[of] = t.ID
		case e.cfg.Keep && t.State != driver.StateCreated: // it has ended, and is for a person to look at
		default:
			never = append(never, t)
		}
	}
	if err := each(never, func(t driver.Task) error { return e.d.Remove(e.patience, t.ID) }); err != nil {
		return fmt.Errorf("removing tasks that were made ahead: %w", err)
	}
	return nil
}

// runs reports whether the task of an attempt may run, or has ended without that having been recorded. The runtime may know more of it than the journal
// does, whose end is lost with the machine's power.
func (e *engine) runs(of attemptOf, t *driver.Task) bool {
	s := e.past.steps[of.step]
	if s != nil && (s.ended || of.attempt < s.attempt) {
		return false
	}
	if e.past.begun(of.step, of.attempt) {
		return true
	}
	if of.step == "" || !e.ran(t) {
		return false
	}
	s = newPastStep(of.attempt)
	s.begun, s.since = true, time.Now()
	e.past.steps[of.step], e.past.filled = s, true
	return true
}

// ran reports whether the main process of a task runs, or has run. One that was made ahead, and is being removed, counts as ended on some runtimes.
func (e *engine) ran(t *driver.Task) bool {
	if t.State != driver.StateEnded {
		return t.State == driver.StateRunning
	}
	r, err := e.d.Wait(e.patience, t.ID)
	return err == nil && !r.Started.IsZero()
}

// errGone is why an attempt that was being started is not gone on with.
var errGone = errors.New("its container was removed by someone else while no worker watched it")

// reattach takes up the task of an attempt that an earlier process was starting, if this is one.
func (e *engine) reattach(p *prep) (bool, error) {
	if !e.past.begun(p.step.ID, p.attempt) {
		return false, nil
	}
	s := e.past.steps[p.step.ID]
	id, ok := e.found[attemptOf{p.step.ID, p.attempt}]
	if !ok {
		return true, errGone
	}
	p.task, p.past = id, s
	e.made.task(p)
	if s.running {
		p.running = func(time.Time) {} // it has been told
	}
	// It is followed also in a build that is being stopped: so it gets its time of grace, and its last lines are kept.
	for tries := 1; ; tries++ {
		var err error
		if p.tail, err = e.follow(e.patience, p); err == nil || e.patience.Err() != nil {
			return true, err
		}
		if s.cursor != "" && !errdefs.IsUnavailable(err) {
			s.cursor, s.logged = "", s.all
			continue
		}
		if tries > resumes {
			e.warn(p.step.ID, "the log is not complete: %v", err)
			p.tail = e.watch(p)
			return true, nil
		}
		pause(e.patience, time.Second)
	}
}

// createAnew makes a task whose name a call of an earlier process may still have taken.
func (e *engine) createAnew(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	id, err := e.d.Create(ctx, spec)
	for range 3 {
		if !e.past.resumed || !errdefs.IsAlreadyExists(err) {
			break
		}
		tasks, lerr := e.d.List(ctx, e.mine())
		if lerr != nil {
			return id, lerr
		}
		for _, t := range tasks {
			if t.Name == spec.Name {
				if err := e.d.Remove(ctx, t.ID); err != nil {
					return id, err
				}
			}
		}
		id, err = e.d.Create(ctx, spec)
	}
	return id, err
}

// volumeName names a volume that ends with the build.
func (e *engine) volumeName(what string) string { return e.cfg.ID + "-" + what }

// ownVolume makes a volume that ends with the build, or finds the one that an earlier process has made.
func (e *engine) ownVolume(what string) (driver.VolumeID, error) {
	id, err := e.d.CreateVolume(e.stop, driver.VolumeSpec{Name: e.volumeName(what), Labels: e.labels})
	if e.past.resumed && errdefs.IsAlreadyExists(err) {
		return e.oldVolume(what)
	}
	if err == nil {
		e.made.volume(id)
	}
	return id, err
}

// oldVolume finds a volume that an earlier process has made.
func (e *engine) oldVolume(what string) (driver.VolumeID, error) {
	volumes, err := e.d.ListVolumes(e.stop, e.mine())
	if err != nil {
		return "", err
	}
	for _, v := range volumes {
		if v.Name == e.volumeName(what) {
			e.made.volume(v.ID)
			return v.ID, nil
		}
	}
	return "", fmt.Errorf("the build's %s was removed from the runtime by someone else while no worker watched it", what)
}

// unusedSandbox returns the first number that no sandbox of an earlier process has. Those may have a task that runs; they are removed at the
// end of the build.
func (e *engine) unusedSandbox() (int, error) {
	if !e.past.resumed {
		return 0, nil
	}
	sandboxes, err := driver.ListSandboxes(e.stop, e.d, e.mine())
	first := 0
	for _, s := range sandboxes {
		if _, digits, ok := strings.Cut(s.Name, sandboxName); ok {
			n, _ := strconv.Atoi(digits)
			first = max(first, n)
		}
	}
	return first, err
}
