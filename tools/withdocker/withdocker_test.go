//go:build linux

package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the tests start this program as process 1 of its own namespaces, as main does.
func TestMain(m *testing.M) {
	if os.Getenv(initVariable) != "" {
		runtime.LockOSThread()
		os.Exit(initMain())
	}
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-private", "-lock=test", "go", "test", "-race"})
	if err != nil || !o.private || o.lock != "test" || !slices.Equal(o.command, []string{"go", "test", "-race"}) {
		t.Errorf("parse: %+v, %v", o, err)
	}
	if _, err := parse(nil); err == nil {
		t.Error("no command is accepted")
	}
}

func TestPing(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	if _, err := ping(t.Context(), "unix://"+socket); err == nil {
		t.Error("a socket that does not exist answers")
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"Version":"1.2.3"}`))
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	if version, err := ping(t.Context(), "unix://"+socket); version != "1.2.3" || err != nil {
		t.Errorf("ping: %q, %v", version, err)
	}
	if _, err := ping(t.Context(), "ssh://elsewhere"); err == nil || !strings.Contains(err.Error(), "unix://") {
		t.Errorf("ping of ssh://: %v", err)
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
	got := make(chan error)
	go func() {
		unlock, err := waitLock(name)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
}

func TestRemoveStaleLeavesTheLivingAlone(t *testing.T) {
	cache := t.TempDir()
	dead, alive := filepath.Join(cache, dirPrefix+"dead"), filepath.Join(cache, dirPrefix+"alive")
	for _, d := range []string{dead, alive} {
		if err := os.MkdirAll(filepath.Join(d, "data"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := waitLock(filepath.Join(alive, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	removeStale(cache)
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("what a dead run left is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(alive, "data")); err != nil {
		t.Errorf("what a living run uses is gone: %v", err)
	}
}

func TestEnviron(t *testing.T) {
	t.Setenv("PATH", "/old")
	t.Setenv("PATHOLOGY", "kept")
	env := environ("PATH=/new")
	if slices.Contains(env, "PATH=/old") || !slices.Contains(env, "PATH=/new") || !slices.Contains(env, "PATHOLOGY=kept") {
		t.Errorf("environ: %q", env)
	}
}

func TestRunCommandKeepsTheExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
		if code, err := runCommand([]string{"sh", "-c", script}); code != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", script, code, err, want)
		}
	}
	if code, err := runCommand([]string{"/does/not/exist"}); err == nil && code != exitTrouble {
		t.Errorf("a command that does not exist runs (exit code %d)", code)
	}
}
