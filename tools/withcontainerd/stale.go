//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	dirPrefix   = "containerd-"
	cgroupRoots = "/sys/fs/cgroup"
)

// waitLock takes the lock that the file stands for, and says what it waits for if it has to. The kernel
// frees the lock when its holder dies, however it dies.
func waitLock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(name)
		fmt.Fprintf(os.Stderr, "withcontainerd: waiting for another run to end (process %s, lock %s)\n", strings.TrimSpace(string(holder)), name)
		err = flock(f, syscall.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	f.Truncate(0)
	f.WriteAt([]byte(fmt.Sprintln(os.Getpid())), 0)
	return func() { f.Close() }, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// makeRun makes the directory of a run and holds its lock. Another run may take the directory for a stale one until it is locked.
func makeRun(cache string) (dir string, lock *os.File, err error) {
	for {
		if dir, err = os.MkdirTemp(cache, dirPrefix); err != nil {
			return "", nil, err
		}
		if lock, err = os.Create(filepath.Join(dir, "lock")); err != nil {
			return "", nil, err
		}
		if err = flock(lock, syscall.LOCK_EX); err != nil {
			return "", nil, err
		}
		if _, err := os.Stat(lock.Name()); err == nil {
			return dir, lock, nil
		}
		lock.Close()
	}
}

// removeStale removes what killed runs have left. A run that lives holds its lock.
func removeStale(cache string) {
	dirs, _ := filepath.Glob(filepath.Join(cache, dirPrefix+"*"))
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0o644)
		if err != nil {
			continue // no run's, or one that is being made or removed
		}
		if flock(f, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			removeRun(dir)
		}
		f.Close()
	}
}

// removeRun removes the directory and the control groups of a run that has ended. The lock goes last, so that what could not be removed is
// found again.
func removeRun(dir string) {
	for _, pattern := range []string{cgroup(dir), "*/" + cgroup(dir)} { // version 2, and 1 or both: one below each controller
		groups, _ := filepath.Glob(filepath.Join(cgroupRoots, pattern))
		for _, g := range groups {
			removeGroups(g)
		}
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != "lock" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "withcontainerd: %v (the next run tries again)\n", err)
	}
}

// removeGroups removes a control group and those below it; a group holds no real files.
func removeGroups(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()))
		}
	}
	syscall.Rmdir(dir)
}

// cgroup is the name of the group that all containers of a run are to be in.
func cgroup(dir string) string { return "wharf-ci-" + filepath.Base(dir) }
