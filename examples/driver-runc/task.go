package runc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// record is task.json: all that does not change.
type record struct {
	ID      driver.TaskID
	Owner   string
	Root    string // of the driver
	Spec    driver.TaskSpec
	Image   imageConfig
	Created time.Time
}

// container is what runc calls the task.
func (r *record) container() string { return r.Owner + "_" + string(r.ID) }

// started is started.json.
type started struct{ At time.Time }

// task is the directory of a task.
type task struct {
	dir string
	record
}

// task finds a task by its handle: NAME.RANDOM.
func (d *Driver) task(id driver.TaskID) (*task, error) {
	t := &task{dir: filepath.Join(d.tasks(), nameOf(string(id)))}
	if readJSON(t.dir, "task.json", &t.record) != nil || t.ID != id {
		return nil, driver.WithClass(errdefs.ErrNotFound, "there is no such task")
	}
	return t, nil
}

// newHandle returns a handle of a task or volume of that name, which no other ever has.
func newHandle(name string) string { return name + "." + strings.ToLower(rand.Text()[:10]) }

// nameOf returns the name in a handle; of what is none, something that no file is called.
func nameOf(handle string) string {
	i := strings.LastIndexByte(handle, '.')
	if i < 0 || driver.ValidName(handle[:i]) != nil {
		return "none."
	}
	return handle[:i]
}

// gone reports whether the task has been removed.
func (t *task) gone() bool {
	var now record
	return readJSON(t.dir, "task.json", &now) != nil || now.ID != t.ID
}

// result returns how the task ended, if it has.
func (t *task) result() (res driver.Result, ended bool) {
	ended = readJSON(t.dir, "exit.json", &res) == nil
	return res, ended
}

func (t *task) started() bool { return exists(t.dir, "started.json") }

// attended reports whether a shim looks after the task.
func (t *task) attended() bool {
	f, err := tryLock(filepath.Join(t.dir, "shim.lock"))
	if err == nil {
		f.Close()
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

func (t *task) state() driver.State {
	_, ended := t.result()
	switch {
	case ended:
		return driver.StateEnded
	case t.started():
		return driver.StateRunning
	case t.attended():
		return driver.StateStarting
	}
	return driver.StateCreated
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

func readJSON(dir, name string, v any) error {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// writeJSON makes a file appear as a whole, or not at all.
func writeJSON(dir, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

// tryLock locks a file for its holder alone, until it is closed, or fails with EWOULDBLOCK.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock is tryLock that waits, also for other processes.
func lock(ctx context.Context, path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
		}
		return f, err
	case <-ctx.Done():
		go func() { <-locked; f.Close() }()
		return nil, context.Cause(ctx)
	}
}
