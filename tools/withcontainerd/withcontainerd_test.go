//go:build linux

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-bin=/x", "-lock=test", "go", "test", "-race"})
	if err != nil || o.bin != "/x" || o.lock != "test" || !slices.Equal(o.command, []string{"go", "test", "-race"}) {
		t.Errorf("parse: %+v, %v", o, err)
	}
	if _, err := parse(nil); err == nil {
		t.Error("no command is accepted")
	}
}

func TestLockIsForOneAtATime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	unlock, err := waitLock(name)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := flock(other, syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	if err := flock(other, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
}

func TestRemoveStaleLeavesTheLivingAlone(t *testing.T) {
	cache := t.TempDir()
	dead, lock, err := makeRun(cache)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	alive, lock, err := makeRun(cache)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	removeStale(cache)
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("what a dead run left is still there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("what a living run uses is gone: %v", err)
	}
}

// build returns a command that runs withcontainerd with a cache of its own. It needs containerd, and root.
func build(t *testing.T, args ...string) (cmd *exec.Cmd, cache string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "withcontainerd")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+dir)
	return cmd, filepath.Join(dir, "wharf-ci")
}

// left are the directories and control groups of runs.
func left(t *testing.T, cache string) (all []string) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(cache, dirPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		all = append(all, dir)
		for _, pattern := range []string{cgroup(dir), "*/" + cgroup(dir)} {
			groups, _ := filepath.Glob(filepath.Join(cgroupRoots, pattern))
			all = append(all, groups...)
		}
	}
	return all
}

// inside makes what a container would leave behind.
const inside = `mkdir -p /run/x && mount -t tmpfs x /run/x && for d in /sys/fs/cgroup/memory /sys/fs/cgroup; do
	if mkdir -p $d$CONTAINERD_CGROUP/container 2>/dev/null; then break; fi; done; `

func TestNothingIsLeft(t *testing.T) {
	cmd, cache := build(t, "sh", "-c", inside+`test -S "$CONTAINERD_ADDRESS" || exit 9; exit 7`)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Fatalf("exit code %d (%v), want that of the command, 7\n%s", code, err, out)
	}
	if all := left(t, cache); all != nil {
		t.Errorf("left: %q", all)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), "/run/x ") {
		t.Errorf("a mount is left, %v", err)
	}
}

func TestNextRunClearsUpAfterOneThatWasKilled(t *testing.T) {
	cmd, cache := build(t, "sh", "-c", inside+"echo up; exec sleep 1000")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Fatalf("the command says %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Every process of the run holds the pipe: at its end they are gone.
	if rest, err := lines.ReadString(0); rest != "" || err == nil {
		t.Errorf("the command goes on: %q, %v", rest, err)
	}
	cmd.Wait()
	if left(t, cache) == nil {
		t.Fatal("a run that was killed leaves nothing: this test shows nothing")
	}
	removeStale(cache)
	if all := left(t, cache); all != nil {
		t.Errorf("left: %q", all)
	}
}
