//go:build linux

package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wharfci/wharf/driver"
)

// Stop ends a task. See [driver.Driver].
func (d *Driver) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "stop", string(id), classify(d.stop(ctx, id, opts)))
}

func (d *Driver) stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	h, err := d.parse(string(id))
	if err != nil {
		return err
	}
	main, err := d.stopCreated(ctx, h)
	if err != nil {
		return err
	}
	if main.phase == phaseRunning {
		if err := d.stopOne(ctx, h, h.container, opts.Grace); err != nil {
			return err
		}
	}
	if main.Labels[labelMembers] == "" {
		return nil
	}
	g, err := d.group(ctx, h)
	if err != nil {
		return err
	}
	return d.endMembers(ctx, h, g, opts.Grace) // services must not be missed by a main container that is ending
}

// stopCreated marks a main container that was not started, so that no Start does.
func (d *Driver) stopCreated(ctx context.Context, h handle) (standing, error) {
	main, err := d.inspect(ctx, h, h.container)
	if err != nil || main.phase != phaseCreated {
		return main, err
	}
	unlock, err := d.lockTask(h)
	if err != nil {
		return main, err
	}
	defer unlock()
	main, err = d.inspect(ctx, h, h.container)
	if err != nil || main.phase != phaseCreated {
		return main, err
	}
	return main, d.mark(ctx, h.container, markStopped, "")
}

// kill sends a signal to a container's main process, or to one that Exec started. One that has ended is no error.
func (d *Driver) kill(ctx context.Context, id, exec string, signal uint32) error {
	_, err := d.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, ExecID: exec, Signal: signal})
	if notFound(err) || err != nil && errdefs.IsFailedPrecondition(errgrpc.ToNative(err)) {
		return nil
	}
	return err
}

// killMain kills the main container, and notes that it was us, see holdBack.
func (d *Driver) killMain(ctx context.Context, h handle) error {
	if err := os.WriteFile(d.killedFile(h), nil, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return d.kill(ctx, h.container, "", 9)
}

func (d *Driver) killedFile(h handle) string { return filepath.Join(d.taskDir(h), "killed") }

// stopOne stops a container that runs, and returns when it has ended. One that was not started is marked, if it is not
// the main one.
func (d *Driver) stopOne(ctx context.Context, h handle, id string, grace time.Duration) error {
	s, err := d.inspect(ctx, h, id)
	if notFound(err) || err == nil && s.phase != phaseRunning {
		return nil
	}
	if err != nil {
		return err
	}
	if grace > 0 {
		if err := d.kill(ctx, id, "", 15); err != nil {
			return err
		}
		timed, cancel := context.WithTimeout(ctx, grace)
		_, err := d.settle(timed, h, id)
		cancel()
		if err == nil || notFound(err) || ctx.Err() != nil {
			return ignoreNotFound(err)
		}
		if !errors.Is(err, context.DeadlineExceeded) && !errdefs.IsDeadlineExceeded(errgrpc.ToNative(err)) { // the latter from a call that the end of the grace time cut off
			return err
		}
	}
	if id == h.container {
		err = d.killMain(ctx, h)
	} else {
		err = d.kill(ctx, id, "", 9)
	}
	if err != nil {
		return err
	}
	_, err = d.settle(ctx, h, id)
	return ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if notFound(err) {
		return nil
	}
	return err
}

// Remove takes a task away. See [driver.Driver].
func (d *Driver) Remove(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	h, err := d.parse(string(id))
	if err != nil {
		return nil // no task has such a handle
	}
	return driver.Wrap(ctx, "remove", string(id), classify(d.remove(ctx, h)))
}

// remove can be repeated wherever an earlier one stopped. The main container's record goes last but
// the directory: as long as it is there, so is the name, and the task is listed.
func (d *Driver) remove(ctx context.Context, h handle) error {
	main, err := d.container(ctx, h, h.container)
	switch {
	case notFound(err):
	case err != nil:
		return err
	case main.Labels[labelGoing] == "":
		if err := d.relabel(ctx, h.container, map[string]string{labelGoing: "1"}); err != nil && !notFound(err) {
			return err
		}
	}
	if unlock, err := d.lockTask(h); err == nil { // a start under way is over then
		defer unlock()
	}
	unlock, err := d.starts.Lock(ctx, "remove "+h.uid)
	if err != nil {
		return err
	}
	defer unlock()
	var g members
	if main.ID == "" || main.Labels[labelMembers] != "" {
		if g, err = d.group(ctx, h); err != nil {
			return err
		}
	}
	for _, c := range g.all() {
		if err := d.removeContainer(ctx, h, c); err != nil {
			return err
		}
	}
	if main.ID != "" {
		if err := d.removeTraces(ctx, h, main); err != nil {
			return err
		}
	} else if err := d.removeOrphan(ctx, h); err != nil {
		return err
	}
	if err := d.removeFiles(ctx, h); err != nil {
		return err
	}
	return d.removeRecord(ctx, h, main)
}

// removeFiles removes what a task has beside the daemon: its network, its secrets and its directory.
func (d *Driver) removeFiles(ctx context.Context, h handle) error {
	if err := d.leaveNetwork(ctx, h.uid); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(d.secretDir(h.uid)), os.RemoveAll(d.taskDir(h)))
}

func (d *Driver) removeRecord(ctx context.Context, h handle, main containers.Container) error {
	if main.ID != "" {
		if err := d.client.ContainerService().Delete(ctx, main.ID); err != nil && !notFound(err) {
			return err
		}
	}
	return ignoreNotFound(d.client.SnapshotService(d.cfg.Snapshotter).Remove(ctx, h.snapshot()))
}

// removeOrphan takes away the process of a main container whose record someone has deleted, unless a new
// task has its name. The daemon does nothing to a process without a record, so one is made for this time.
func (d *Driver) removeOrphan(ctx context.Context, h handle) error {
	if _, err := os.Stat(d.taskDir(h)); errors.Is(err, os.ErrNotExist) {
		return nil // it was removed as it should be
	}
	spec, err := typeurl.MarshalAny(&specs.Spec{})
	if err != nil {
		return err
	}
	_, err = d.client.ContainerService().Create(ctx, containers.Container{
		ID: h.container, Spec: spec, Runtime: containers.RuntimeInfo{Name: defaults.DefaultRuntime},
		Labels: map[string]string{labelOwner: d.owner, labelUID: h.uid, labelGoing: "1"},
	})
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = d.removeProcess(ctx, h.container)
	return errors.Join(err, ignoreNotFound(d.client.ContainerService().Delete(ctx, h.container)))
}

// removeContainer kills and removes a container of a task with its file system. One that is not there is no error.
func (d *Driver) removeContainer(ctx context.Context, h handle, c containers.Container) error {
	if err := d.removeTraces(ctx, h, c); err != nil {
		return err
	}
	if err := d.client.ContainerService().Delete(ctx, c.ID); err != nil && !notFound(err) {
		return err
	}
	return ignoreNotFound(d.client.SnapshotService(d.cfg.Snapshotter).Remove(ctx, c.SnapshotKey))
}

// removeTraces removes the process of a container that the daemon has on record, and what is left where its making broke off.
func (d *Driver) removeTraces(ctx context.Context, h handle, c containers.Container) error {
	begun := exists(d.begunFile(h, nameOf(c)))
	if begun && d.startedAt(h, c).IsZero() { // a shim may hang
		if err := d.awaitUndone(ctx, c.ID, 0); err != nil {
			return err
		}
	}
	if err := d.removeProcess(ctx, c.ID); err != nil || !begun {
		return err
	}
	return d.awaitUndone(ctx, c.ID, 0)
}

// clearTime is how long the daemon may take to clear up after a shim that has died.
const clearTime = 20 * time.Second

// removeProcess kills a container's process and deletes its record.
func (d *Driver) removeProcess(ctx context.Context, id string) error {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	begin := time.Now()
	for tries := 0; tries < 10 || time.Since(begin) < clearTime; tries++ {
		_, err := d.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		switch {
		case err == nil || notFound(err):
			return nil
		case strings.Contains(err.Error(), shimGone):
		case errdefs.IsFailedPrecondition(errgrpc.ToNative(err)), strings.Contains(err.Error(), "cannot delete a running process"):
			if err := d.endProcess(ctx, id); err != nil && !strings.Contains(err.Error(), shimGone) {
				return err
			}
			continue
		default:
			return err
		}
		select { // no event tells that the shim's remains are gone
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return driver.WithClass(errdefs.ErrUnavailable, "containerd does not end the container %s", id)
}

// endProcess kills a container's process and waits until it has ended.
func (d *Driver) endProcess(ctx context.Context, id string) error {
	if err := d.kill(ctx, id, "", 9); err != nil {
		return err
	}
	_, err := d.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
	return ignoreNotFound(err)
}
