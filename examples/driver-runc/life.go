package runc

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// Start starts the shim, which does the rest. See [driver.Driver].
func (d *Driver) Start(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "start", string(id), classify(d.start(ctx, id)))
}

func (d *Driver) start(ctx context.Context, id driver.TaskID) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	l, err := lock(ctx, filepath.Join(t.dir, "lock"))
	if err != nil {
		return err
	}
	defer l.Close()
	if err := t.launch(); err != nil {
		return err
	}
	return d.until(ctx, t, func() (bool, error) {
		_, ended := t.result()
		switch {
		case ended || t.started():
			return true, nil
		case !t.attended() && !t.started(): // looked at again: it may just have become so
			_, ended := t.result()
			if !ended {
				return true, driver.WithClass(errdefs.ErrUnavailable, "the shim ended before it had started the container")
			}
		}
		return false, nil
	})
}

// until waits for a condition on a task's files. It returns NotFound once the task is gone.
func (d *Driver) until(ctx context.Context, t *task, holds func() (bool, error)) error {
	changed, stop, err := d.watcher.watch(t.dir)
	if err != nil {
		return err
	}
	defer stop()
	for {
		if t.gone() {
			return driver.WithClass(errdefs.ErrNotFound, "the task was removed")
		}
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Wait waits for exit.json. See [driver.Driver].
func (d *Driver) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	ctx, done := d.begin(ctx)
	defer done()
	res, err := d.wait(ctx, id)
	return res, driver.Wrap(ctx, "wait", string(id), classify(err))
}

func (d *Driver) wait(ctx context.Context, id driver.TaskID) (res driver.Result, err error) {
	t, err := d.task(id)
	if err != nil {
		return res, err
	}
	err = d.until(ctx, t, func() (ended bool, _ error) {
		unattended := t.started() && !t.attended()
		if res, ended = t.result(); !ended && unattended {
			res, ended = driver.Result{Outcome: driver.Unknown, Reason: "the container's shim was killed: nobody knows how the container ended"}, true
		}
		return ended, nil
	})
	if errdefs.IsNotFound(err) {
		return driver.Result{Outcome: driver.Lost, Reason: "the task was removed while it ran"}, nil
	}
	return res, err
}

// Stop sends TERM, waits, and sends KILL. See [driver.Driver].
func (d *Driver) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "stop", string(id), classify(d.stop(ctx, id, opts)))
}

func (d *Driver) stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	l, err := lock(ctx, filepath.Join(t.dir, "lock"))
	if err != nil {
		return err
	}
	if t.state() == driver.StateCreated {
		err = writeJSON(t.dir, "exit.json", driver.Result{Outcome: driver.Stopped, Ended: time.Now()})
	}
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	ended := func() (bool, error) {
		_, ended := t.result()
		return ended || !t.attended(), nil
	}
	if opts.Grace > 0 {
		if err := t.kill(ctx, "TERM"); err != nil {
			return err
		}
		grace, cancel := context.WithTimeoutCause(ctx, opts.Grace, errGrace)
		err := d.until(grace, t, ended)
		cancel()
		if !errors.Is(err, errGrace) {
			return err
		}
	}
	if err := t.kill(ctx, "KILL"); err != nil {
		return err
	}
	return d.until(ctx, t, ended)
}

var errGrace = errors.New("the grace time is over")

// kill signals the main process; of a container that has ended it returns nil.
func (t *task) kill(ctx context.Context, signal string) error {
	out, err := t.runc(ctx, "kill", t.container(), signal).CombinedOutput()
	if _, ended := t.result(); err == nil || ended || strings.Contains(string(out), "does not exist") ||
		strings.Contains(string(out), "not running") || strings.Contains(string(out), "process already finished") {
		return nil
	}
	return driver.WithClass(errdefs.ErrUnavailable, "runc kill: %v: %s", err, out)
}

func (r *record) runc(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "runc", append([]string{"--root", filepath.Join(r.Root, "runc")}, args...)...)
}

// Remove moves the directory out of sight first, which is what others notice. See [driver.Driver].
func (d *Driver) Remove(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "remove", string(id), classify(d.remove(ctx, id)))
}

func (d *Driver) remove(ctx context.Context, id driver.TaskID) error {
	if nameOf(string(id)) == "none." {
		return nil // never existed
	}
	trash := &task{dir: filepath.Join(d.trash(), filepath.Base(string(id)))}
	if t, err := d.task(id); err == nil {
		if err := os.Rename(t.dir, trash.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// Whoever was interrupted here, in whichever process, left it to the next.
	if readJSON(trash.dir, "task.json", &trash.record) != nil {
		return nil
	}
	if out, err := trash.runc(ctx, "delete", "--force", trash.container()).CombinedOutput(); err != nil && exists(trash.dir, "task.json") {
		return driver.WithClass(errdefs.ErrUnavailable, "runc delete: %v: %s", err, out)
	}
	l, err := lock(ctx, filepath.Join(trash.dir, "shim.lock")) // until the shim has ended
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer l.Close()
	if err := unix.Unmount(filepath.Join(trash.dir, "rootfs"), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return os.RemoveAll(trash.dir)
}

// List reads the directories. See [driver.Driver].
func (d *Driver) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	if err := errors.Join(context.Cause(ctx), context.Cause(d.ctx)); err != nil {
		return nil, driver.Wrap(ctx, "list", "", classify(err))
	}
	entries, err := os.ReadDir(d.tasks())
	if err != nil {
		return nil, driver.Wrap(ctx, "list", "", classify(err))
	}
	var tasks []driver.Task
	for _, e := range entries {
		t := &task{dir: filepath.Join(d.tasks(), e.Name())}
		if readJSON(t.dir, "task.json", &t.record) == nil && matches(t.Spec.Labels, opts.Labels) {
			tasks = append(tasks, driver.Task{ID: t.ID, Name: t.Spec.Name, Labels: t.Spec.Labels, State: t.state(), Created: t.Created})
		}
	}
	slices.SortFunc(tasks, func(a, b driver.Task) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name)) })
	return tasks, nil
}

func matches(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}
