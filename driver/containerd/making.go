//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"
)

// A task has directories, a network namespace and a snapshot before it has its record in the daemon, by which it is found. So who makes one
// holds a lock on a file that is called like the task for that time. The kernel frees the lock when the process dies, whoever comes next finds
// the file without one, and takes away what has no record.

// makingDir holds a file for each task that is being made.
func (d *Driver) makingDir() string { return filepath.Join(d.cfg.Root, "making") }

// leaseOf is the lease that keeps a new task's snapshots from being collected as garbage until its containers refer to them.
func leaseOf(h handle) string { return "wharf-" + h.uid }

// leaseTime is how long a lease lasts whose holder has died, if nobody sweeps up.
const leaseTime = 24 * time.Hour

// lockMaking notes that a task is being made: until the file that it returns is removed and closed, or the process ends.
func (d *Driver) lockMaking(h handle) (*os.File, error) {
	if err := os.MkdirAll(d.makingDir(), 0o711); err != nil {
		return nil, err
	}
	name := filepath.Join(d.makingDir(), h.String())
	for { // a sweeper may be quicker, and remove the file before there is a lock on it
		f, err := lockFile(name, os.O_RDWR|os.O_CREATE, unix.LOCK_EX)
		if err != nil {
			return nil, err
		}
		if exists(name) {
			return f, nil
		}
		f.Close()
	}
}

// lockFile opens a file and locks it (flock(2)). The lock lasts until the file is closed.
func lockFile(name string, flags, lock int) (*os.File, error) {
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err = unix.Flock(int(f.Fd()), lock); err {
		case unix.EINTR:
		case nil:
			return f, nil
		default:
			f.Close()
			return nil, err
		}
	}
}

// awaitUnlock returns when nobody had a file locked at some moment, or ctx ends.
func awaitUnlock(ctx context.Context, name string) error {
	done := make(chan error, 1)
	go func() {
		f, err := lockFile(name, os.O_RDONLY, unix.LOCK_EX)
		if err == nil {
			f.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sweep takes away what processes have left that died while they made a task of the owner, or made or removed a volume or a sandbox. What
// cannot be taken away now stays for the next call.
func (d *Driver) sweep(ctx context.Context) {
	dropUnfinished(d.volumesDir())
	dropUnfinished(d.sandboxesDir())
	list, _ := os.ReadDir(d.makingDir()) // not there: nothing was made yet
	for _, e := range list {
		if h, err := d.parse(e.Name()); err == nil {
			_ = d.sweepTask(ctx, h)
		}
	}
}

func (d *Driver) sweepTask(ctx context.Context, h handle) error {
	name := filepath.Join(d.makingDir(), h.String())
	f, err := lockFile(name, os.O_RDWR, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return err // it is being made, or was swept
	}
	defer f.Close()
	if !exists(name) {
		return nil // it was made meanwhile
	}
	// Before the look: what the dead process has asked for last is done then.
	if err := d.client.LeasesService().Delete(ctx, leases.Lease{ID: leaseOf(h)}); err != nil && !notFound(err) {
		return err
	}
	_, err = d.container(ctx, h, h.container)
	if err != nil && !notFound(err) {
		return err
	}
	if notFound(err) {
		if err := d.removeFiles(ctx, h); err != nil {
			return err
		}
	}
	if err := d.sweepSnapshots(ctx, h); err != nil {
		return err
	}
	return os.Remove(name)
}

// sweepSnapshots removes those of a task that no container refers to.
func (d *Driver) sweepSnapshots(ctx context.Context, h handle) error {
	service := d.client.SnapshotService(d.cfg.Snapshotter)
	var keys []string
	err := service.Walk(ctx, func(_ context.Context, s snapshots.Info) error {
		keys = append(keys, s.Name)
		return nil
	}, fmt.Sprintf("labels.%q==%q", labelUID, h.uid))
	if err != nil {
		return err
	}
	for _, key := range keys {
		id := key
		if key == h.snapshot() {
			id = h.container
		}
		if _, err := d.container(ctx, h, id); err == nil {
			continue
		} else if !notFound(err) {
			return err
		}
		if err := ignoreNotFound(service.Remove(ctx, key)); err != nil {
			return err
		}
	}
	return nil
}

// What is published, or taken away, has a name with one of these prefixes meanwhile, and whoever does so holds a shared lock on the directory.
const (
	prefixNew  = ".new-"
	prefixGone = ".gone-"
)

// dropUnfinished removes what those have left in a directory who died while they published or removed something there.
func dropUnfinished(dir string) {
	unfinished := func() (list []string) {
		entries, _ := os.ReadDir(dir) // not there: nothing is
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), prefixNew) || strings.HasPrefix(e.Name(), prefixGone) {
				list = append(list, filepath.Join(dir, e.Name()))
			}
		}
		return list
	}
	if len(unfinished()) == 0 {
		return
	}
	f, err := lockFile(dir, os.O_RDONLY, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return // someone is at it
	}
	defer f.Close()
	var gone []string
	for _, name := range unfinished() {
		to := filepath.Join(dir, prefixGone+"swept-"+newUID())
		if os.Rename(name, to) == nil {
			gone = append(gone, to)
		}
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_SH) != nil { // others may publish while something large is removed
		return
	}
	for _, name := range gone {
		_ = os.RemoveAll(name)
	}
}

// removeTree removes a directory of a parent that others may look into: whole or, when the process dies, later by others.
func removeTree(dir, uid string) error {
	parent := filepath.Dir(dir)
	lock, err := lockFile(parent, os.O_RDONLY, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer lock.Close()
	gone := filepath.Join(parent, prefixGone+uid)
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(gone)
}
