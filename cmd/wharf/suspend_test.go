//go:build unix

package main

import (
	"strings"
	"syscall"
	"testing"
)

func TestTerminalSuspend(t *testing.T) {
	s := start(t, 80, 20, wharf(t, "run", definition(t, "echo ready\nsleep 3")))
	s.until(t, "│ ready")
	pid := s.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the process has not been stopped: %v, %v", status, err)
	}
	if s.read(func(string) bool { return s.vt.CursorVisible() }) {
		t.Fatal("the output ended while the process stood still")
	}
	if strings.Contains(s.vt.String(), "│ ready") {
		t.Errorf("the tree stands there while the process does not run:\n%s", s.vt)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.until(t, "of 1 step")
	s.read(nil)
	if code := exitCode(t, s.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.vt)
	}
}
