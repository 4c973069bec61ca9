//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	dirPrefix   = "daemon-"
	cgroupRoots = "/sys/fs/cgroup"
)

// runPrivate runs the command beside a daemon of its own, in namespaces of their own.
func runPrivate(cache string, o options) (int, error) {
	dockerd, err := findDockerd(o.bin)
	if err != nil {
		return exitTrouble, err
	}
	removeStale(cache)
	dir, err := os.MkdirTemp(cache, dirPrefix)
	if err != nil {
		return exitTrouble, err
	}
	// The first process of the namespaces holds the lock too, so that a later run takes nothing away from under it.
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return exitTrouble, err
	}
	if err := flock(lock, syscall.LOCK_EX); err != nil {
		return exitTrouble, err
	}
	defer removeRun(dir)
	say("no Docker daemon is there for us: starting %s for this run alone (log: %s)", dockerd, logFile(dir))
	code, err := startInit(initConfig{Dir: dir, Dockerd: dockerd, User: o.user, Command: o.command},
		syscall.CLONE_NEWPID|syscall.CLONE_NEWNS|syscall.CLONE_NEWNET, lock)
	if errors.Is(err, syscall.EPERM) {
		err = fmt.Errorf("%w: this machine (a container?) does not let us make namespaces; start a Docker daemon outside and set DOCKER_HOST", err)
	}
	return code, err
}

// startInit starts ourselves again as the first process of new namespaces, and waits for its end. It hands the files on, as 3 and so on.
func startInit(cfg initConfig, namespaces uintptr, files ...*os.File) (int, error) {
	encoded, err := json.Marshal(cfg)
	if err != nil {
		return exitTrouble, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"withdocker: init"}
	cmd.Env = append(os.Environ(), initVariable+"="+string(encoded))
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	return runForwarding(cmd)
}

// findDockerd looks in the given directory, or in PATH and where Debian puts daemons.
func findDockerd(dir string) (string, error) {
	dirs := append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin")
	if dir != "" {
		dirs = []string{dir}
	}
	for _, d := range dirs {
		if p, err := exec.LookPath(filepath.Join(d, "dockerd")); err == nil && filepath.IsAbs(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("no dockerd in %s: apt-get install docker.io", strings.Join(dirs, ":"))
}

func logFile(dir string) string { return filepath.Join(dir, "dockerd.log") }

// removeStale removes what killed runs have left. A run that lives holds its lock.
func removeStale(cache string) {
	dirs, _ := filepath.Glob(filepath.Join(cache, dirPrefix+"*"))
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			continue
		}
		if flock(f, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			say("removing what a killed run has left in %s", dir)
			removeRun(dir)
		}
		f.Close()
	}
}

// removeRun removes the directory and the control groups of a run that has ended.
func removeRun(dir string) {
	var groups []string
	for _, pattern := range []string{"*/", "*/*/"} { // cgroup v2 and hybrid: at the root; v1: one below each controller
		found, _ := filepath.Glob(filepath.Join(cgroupRoots, pattern, cgroupParent(dir)))
		groups = append(groups, found...)
	}
	root, _ := filepath.Glob(filepath.Join(cgroupRoots, cgroupParent(dir)))
	for _, g := range append(groups, root...) {
		removeGroups(g)
	}
	if err := os.RemoveAll(dir); err != nil {
		say("%v (the next run tries again)", err)
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

// cgroupParent is the name of the group that all containers of this run's daemon are in.
func cgroupParent(dir string) string { return "wharf-ci-" + filepath.Base(dir) }
