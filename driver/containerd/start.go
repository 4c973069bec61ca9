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
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// Start starts a task. See [driver.Driver].
func (d *Driver) Start(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "start", string(id), classify(d.startTask(ctx, id)))
}

func (d *Driver) startTask(ctx context.Context, id driver.TaskID) error {
	h, err := d.parse(string(id))
	if err != nil {
		return err
	}
	unlock, err := d.starts.Lock(ctx, h.uid)
	if err != nil {
		return err
	}
	defer unlock()
	main, err := d.container(ctx, h, h.container)
	if err != nil {
		return err
	}
	if main.Labels[labelMembers] != "" {
		if mark, err := d.startGroup(ctx, h); mark != "" || err != nil {
			return d.abandon(ctx, h, mark, err)
		}
	}
	return d.launch(ctx, h, main)
}

// lockTask makes transitions of a task exclusive among processes. It is held for as long as one container takes
// to start, and freed by the kernel when the process dies.
func (d *Driver) lockTask(h handle) (unlock func(), err error) {
	f, err := lockFile(filepath.Join(d.taskDir(h), "lock"), os.O_RDWR|os.O_CREATE, unix.LOCK_EX)
	if errors.Is(err, os.ErrNotExist) {
		return nil, driver.WithClass(errdefs.ErrNotFound, "the task was removed")
	}
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// startTime is how long the daemon may take to start one container, and undoTime how long what keeps it from that may be waited for.
const (
	startTime = 2 * time.Minute
	undoTime  = 20 * time.Second
)

// launch starts one container, unless it was started, or marked, before. That it cannot be started is noted with it, and
// no error.
func (d *Driver) launch(ctx context.Context, h handle, c containers.Container) error {
	unlock, err := d.lockTask(h)
	if err != nil {
		return err
	}
	defer unlock()
	for begin := time.Now(); ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := d.tryLaunch(ctx, h, c)
		if !errors.Is(err, errInTheWay) || time.Since(begin) > undoTime {
			return err
		}
	}
}

// tryLaunch is launch that says errInTheWay if an earlier attempt, which broke off, is not undone yet.
func (d *Driver) tryLaunch(ctx context.Context, h handle, c containers.Container) error {
	if exists(d.begunFile(h, nameOf(c))) && d.startedAt(h, c).IsZero() {
		if _, err := d.container(ctx, h, c.ID); err != nil { // only what is ours may be helped
			return err
		}
		if err := d.awaitUndone(ctx, c.ID, settleTime); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime) // half a start helps nobody
	defer cancel()
	if err := d.startOne(ctx, h, c.ID); err != nil {
		if ctx.Err() != nil {
			return driver.WithClass(errdefs.ErrUnavailable, "containerd did not start the container within %s", startTime)
		}
		return err
	}
	return nil
}

// startOne is launch without a look back.
func (d *Driver) startOne(ctx context.Context, h handle, id string) error {
	s, err := d.inspect(ctx, h, id)
	if err != nil || s.phase != phaseCreated {
		return err
	}
	if err := d.rejoinNetwork(s.Container); err != nil {
		return err
	}
	if why := s.Labels[labelRefused]; why != "" {
		return d.mark(ctx, id, markFailed, why)
	}
	if err := d.connectTask(ctx, h, s.Container); err != nil {
		return err
	}
	if s.task == nil || s.task.Status != task.Status_CREATED {
		if err := d.createProcess(ctx, h, s); err != nil {
			return d.startFailed(ctx, id, err)
		}
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	if err := os.WriteFile(d.startedFile(h, nameOf(s.Container)), []byte(now), 0o600); err != nil {
		return err
	}
	_, err = d.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id})
	if err != nil && !broken(err) {
		again, lookErr := d.inspect(ctx, h, id)
		if notFound(lookErr) {
			return lookErr
		}
		if lookErr != nil { // whether it runs is not known
			return errors.Join(lookErr, err)
		}
		if again.phase > phaseCreated && again.phase != phaseVanished {
			return nil // it ended as soon as it began
		}
		_ = os.Remove(d.startedFile(h, nameOf(s.Container))) // before the process, or the task would seem to have run
		_, _ = d.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		return d.startFailed(ctx, id, err)
	}
	d.hub.pokeStart(id)
	return err
}

// createProcess has the shim prepare the container's process, and opens its log.
func (d *Driver) createProcess(ctx context.Context, h handle, s standing) error {
	name := nameOf(s.Container)
	stdout, stderr := d.logFile(h, name, driver.Stdout), d.logFile(h, name, driver.Stderr)
	for _, file := range []string{stdout, stderr, marksFile(stdout), marksFile(stderr)} {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		f.Close()
	}
	if err := d.files.mark(d.taskDir(h)); err != nil {
		return err
	}
	mounts, err := d.client.SnapshotService(d.cfg.Snapshotter).Mounts(ctx, s.SnapshotKey)
	if err != nil {
		return err
	}
	begun := d.begunFile(h, name)
	again := exists(begun)
	if err := os.WriteFile(begun, nil, 0o600); err != nil {
		return err
	}
	created, err := d.client.TaskService().Create(ctx, &tasks.CreateTaskRequest{
		ContainerID: s.ID, Rootfs: protoMounts(mounts),
		Stdout: stdout, Stderr: stderr,
	})
	if err == nil {
		d.learnBundles(created.Pid, s.ID)
	}
	switch {
	case err != nil && d.inTheWay(err, s.ID), again && err != nil && strings.Contains(err.Error(), "failed to start shim"):
		return driver.WithClass(errInTheWay, "%s (%s)", errInTheWay, errgrpc.ToNative(err))
	case !again && (err == nil || !broken(err)):
		_ = os.Remove(begun)
	}
	if notFound(err) && !strings.Contains(err.Error(), "OCI runtime") {
		if _, gone := d.container(ctx, h, s.ID); gone != nil {
			return gone
		}
	}
	return err
}

// begunFile is there while the daemon makes a container's process, and from then on if the connection broke meanwhile: the daemon may still be at
// it, or at undoing it.
func (d *Driver) begunFile(h handle, name string) string {
	return filepath.Join(d.taskDir(h), name+".begun")
}

// broken reports whether an error leaves open what the daemon has done.
func broken(err error) bool {
	native := errgrpc.ToNative(err)
	return unreachable(err) || errdefs.IsDeadlineExceeded(native) || errdefs.IsCanceled(native) || errdefs.IsDeadlineExceeded(err) || errdefs.IsCanceled(err)
}

func protoMounts(mounts []mount.Mount) []*types.Mount {
	var list []*types.Mount
	for _, m := range mounts {
		list = append(list, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return list
}

// startFailed notes the runtime's refusal to start a container. What says nothing about the container is returned.
func (d *Driver) startFailed(ctx context.Context, id string, err error) error {
	if broken(err) || ctx.Err() != nil || errors.Is(err, os.ErrNotExist) {
		return err
	}
	native := errgrpc.ToNative(err)
	if _, gone := d.client.ContainerService().Get(ctx, id); notFound(gone) {
		return driver.WithClass(errdefs.ErrNotFound, "the task was removed")
	}
	return d.mark(ctx, id, markFailed, startReason(native.Error()))
}

// startReason leaves out what each layer of the runtime says about itself.
func startReason(s string) string {
	s = strings.TrimSuffix(s, ": unknown")
	for _, p := range []string{
		"failed to create shim task: ", "OCI runtime create failed: ", "runc create failed: ",
		"unable to start container process: ", "error during container init: ",
	} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}

// connectGroup connects the network before the first of several containers.
func (d *Driver) connectGroup(ctx context.Context, h handle, main containers.Container) error {
	unlock, err := d.lockTask(h)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
	defer cancel()
	err = d.connectTask(ctx, h, main)
	if err != nil && ctx.Err() != nil {
		return driver.WithClass(errdefs.ErrUnavailable, "the task's network was not set up within %s: %v", startTime, err)
	}
	return err
}

// startGroup runs the init containers and starts the services. It goes on where an earlier call
// stopped. A mark says why the main container must not be started.
func (d *Driver) startGroup(ctx context.Context, h handle) (mark string, err error) {
	main, err := d.inspect(ctx, h, h.container)
	if err != nil || main.phase != phaseCreated {
		return "", err
	}
	if err := d.rejoinNetwork(main.Container); err != nil {
		return "", err
	}
	g, err := d.group(ctx, h)
	if err != nil {
		return "", err
	}
	if !whole(main.Container, g) {
		return "", driver.WithClass(errdefs.ErrFailedPrecondition, "the task is not complete: its making has not ended, or broke off; then remove it and make it again")
	}
	if err := d.connectGroup(ctx, h, main.Container); err != nil {
		return "", err
	}
	d.supervise(h)
	for _, c := range g.inits {
		if err := d.launch(ctx, h, c); err != nil {
			return "", err
		}
		s, err := d.settle(ctx, h, c.ID)
		if err != nil {
			return "", err
		}
		if res := d.result(h, s); !res.Succeeded() {
			return markInit + ":" + nameOf(c), nil
		}
		if stopped, err := d.marked(ctx, h); stopped || err != nil {
			return markStopped, err
		}
	}
	for _, c := range g.services {
		if err := d.launch(ctx, h, c); err != nil {
			return "", err
		}
		if s, err := d.inspect(ctx, h, c.ID); err != nil {
			return "", err
		} else if s.phase == phaseMarked {
			return markDied + ":" + nameOf(c), nil
		}
	}
	for _, c := range g.services {
		if mark, err := d.awaitReady(ctx, h, c); mark != "" || err != nil {
			return mark, err
		}
	}
	return "", nil
}

func (d *Driver) marked(ctx context.Context, h handle) (bool, error) {
	main, err := d.inspect(ctx, h, h.container)
	return err == nil && main.phase == phaseMarked, err
}

// abandon notes why the main container is not started, unless it was stopped meanwhile.
func (d *Driver) abandon(ctx context.Context, h handle, mark string, err error) error {
	if err != nil {
		return err
	}
	unlock, err := d.lockTask(h)
	if err != nil {
		return err
	}
	defer unlock()
	if marked, err := d.marked(ctx, h); marked || err != nil {
		return err
	}
	return d.mark(ctx, h.container, mark, "")
}
