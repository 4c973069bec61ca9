//go:build linux

package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/wharfci/wharf/driver"
)

// Marks say, in labelMark of a container that will not be started any more, why not.
const (
	markStopped  = "stopped"   // Stop was called before the start
	markFailed   = "failed"    // it could not be started; labelReason has the runtime's words
	markInit     = "init"      // and the name of the init container that failed, after a colon
	markDied     = "died"      // and the name of the service that died, after a colon
	markNotReady = "not-ready" // and the name of the service that was not ready in time, after a colon
)

// phase is where one container stands.
type phase uint8

const (
	phaseCreated  phase = iota // may still be started
	phaseRunning               // paused included
	phaseExited                // has run, and the daemon has its end on record
	phaseVanished              // has run, and the daemon has no record of its end
	phaseMarked                // will not be started
	phaseGoing                 // is being removed, or is gone
)

// status is what is known of one container.
type standing struct {
	containers.Container
	phase phase
	task  *task.Process
}

// container returns a container of the task, or NotFound.
func (d *Driver) container(ctx context.Context, h handle, id string) (containers.Container, error) {
	c, err := d.client.ContainerService().Get(ctx, id)
	if err == nil && (c.Labels[labelUID] != h.uid || c.Labels[labelOwner] != d.owner) {
		err = driver.WithClass(errdefs.ErrNotFound, "the owner has no such task")
	}
	if err != nil {
		return containers.Container{}, err
	}
	return c, nil
}

// inspect returns where a container of the task stands; NotFound if it is gone. It asks again while the container's shim is busy, for
// as long as the driver's patience lasts.
func (d *Driver) inspect(ctx context.Context, h handle, id string) (standing, error) {
	begin := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		s, err := d.look(ctx, h, id)
		if !errors.Is(err, errBusy) || time.Since(begin) > d.cfg.Patience {
			return s, err
		}
		retry := time.NewTimer(pause)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return s, context.Cause(ctx)
		}
	}
}

// look is inspect that asks once.
func (d *Driver) look(ctx context.Context, h handle, id string) (standing, error) {
	c, err := d.container(ctx, h, id)
	if err != nil {
		return standing{phase: phaseGoing}, err
	}
	return d.statusOf(ctx, h, c)
}

// errBusy says that nothing is known of a task, and nothing to be concluded. The daemon gives a shim two seconds to answer; one that is
// preparing a container on a machine with much to do takes longer.
var errBusy = driver.WithClass(errdefs.ErrUnavailable, "the task's shim does not answer containerd; the machine may be overloaded, or the shim stopped")

func (d *Driver) statusOf(ctx context.Context, h handle, c containers.Container) (standing, error) {
	s := standing{Container: c}
	switch {
	case c.Labels[labelGoing] != "":
		s.phase = phaseGoing
		return s, nil
	case c.Labels[labelMark] != "":
		s.phase = phaseMarked
		return s, nil
	}
	started := !d.startedAt(h, c).IsZero() // asked first: a start in between makes a task that is not found one that was not started
	res, err := d.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: c.ID})
	if notFound(err) {
		if !started {
			s.phase = phaseCreated
			return s, nil
		}
		if _, err := d.container(ctx, h, c.ID); err != nil { // it may have been removed between the two looks
			return standing{phase: phaseGoing}, err
		}
		s.phase = phaseVanished
		return s, nil
	}
	if errdefs.IsDeadlineExceeded(errgrpc.ToNative(err)) && ctx.Err() == nil { // containerd 2
		return s, errBusy
	}
	if err != nil {
		return s, err
	}
	s.task = res.Process
	switch res.Process.Status {
	case task.Status_STOPPED:
		s.phase = phaseExited
	case task.Status_CREATED:
		s.phase = phaseCreated
	case task.Status_RUNNING, task.Status_PAUSED, task.Status_PAUSING:
		s.phase = phaseRunning
	default: // containerd 1
		return s, errBusy
	}
	return s, nil
}

// nameOf is the name of a container within its task.
func nameOf(c containers.Container) string {
	if n := c.Labels[labelContainer]; n != "" {
		return n
	}
	return driver.MainContainer
}

// startedFile is written just before the container's process is started; so it was not, if there is none.
func (d *Driver) startedFile(h handle, name string) string {
	return filepath.Join(d.taskDir(h), name+".started")
}

func (d *Driver) startedAt(h handle, c containers.Container) time.Time {
	b, err := os.ReadFile(d.startedFile(h, nameOf(c)))
	if err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil { // the machine went down in the middle of the writing
		return time.Unix(1, 0).UTC()
	}
	return t
}

// mark notes why a container will not run, and so wakes whoever waits for it, in any process.
func (d *Driver) mark(ctx context.Context, id, mark, reason string) error {
	return d.relabel(ctx, id, map[string]string{labelMark: mark, labelReason: limited(reason)})
}

func (d *Driver) relabel(ctx context.Context, id string, labels map[string]string) error {
	var paths []string
	for k := range labels {
		paths = append(paths, "labels."+k)
	}
	_, err := d.client.ContainerService().Update(ctx, containers.Container{ID: id, Labels: labels}, paths...)
	d.hub.poke(id)
	return err
}

// limited cuts words to what fits into a label.
func limited(s string) string { return s[:min(len(s), 3000)] }

// patiently calls f until it succeeds or fails for another reason than that the daemon does not
// answer, for as long as the driver's patience lasts.
func (d *Driver) patiently(ctx context.Context, f func() error) error {
	var deadline time.Time
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := f()
		if err == nil || !unreachable(err) || ctx.Err() != nil {
			return err
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(d.cfg.Patience)
		}
		if time.Now().After(deadline) {
			return err
		}
		retry := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			retry.Stop()
			return context.Cause(ctx)
		case <-retry.C:
		}
	}
}

// settle waits until a container will not run any more, and returns what is on record. It returns
// NotFound only for a container that was gone before the call.
func (d *Driver) settle(ctx context.Context, h handle, id string) (standing, error) {
	return d.until(ctx, h, id, true, func(p phase) bool { return p > phaseRunning })
}

// until waits until a container is in a phase that is good, or gone. It may be told that a start makes no difference.
func (d *Driver) until(ctx context.Context, h handle, id string, endsOnly bool, good func(phase) bool) (standing, error) {
	var wake <-chan struct{}
	leave := func() {}
	defer func() { leave() }()
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	var ended <-chan struct{}
	for known := false; ; {
		var s standing
		err := d.patiently(ctx, func() (err error) {
			if wake == nil && known { // the first look costs no subscription
				if wake, leave, err = d.hub.watch(ctx, id, endsOnly); err != nil {
					leave, wake = func() {}, nil
					return err
				}
			}
			s, err = d.look(ctx, h, id)
			return err
		})
		if notFound(err) && known {
			return standing{phase: phaseGoing}, nil
		}
		if err != nil {
			return s, err
		}
		if good(s.phase) || s.phase == phaseGoing {
			return s, nil
		}
		known = true
		if wake == nil {
			continue
		}
		if s.phase == phaseRunning && ended == nil {
			ended = d.processEnd(asking, id)
		}
		select {
		case <-wake:
		case <-ended:
			ended = nil
		case <-ctx.Done():
			return s, context.Cause(ctx)
		}
	}
}

// processEnd asks for the end of a container's process, and closes the channel with the answer, whatever it is. Beside the events this is needed where
// a shim ends before its last ones have reached the daemon.
func (d *Driver) processEnd(ctx context.Context, id string) <-chan struct{} {
	ended := make(chan struct{})
	d.tasks.Go(func() {
		_, err := d.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		if err != nil && !notFound(err) {
			<-ctx.Done() // when the daemon can be reached again, an event tells so
			return
		}
		close(ended)
	})
	return ended
}
