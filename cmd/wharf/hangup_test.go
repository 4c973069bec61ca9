//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
)

// lastWords ends a build that says "ready", and then more when it is told to end.
const lastWords = "trap 'sleep 0.5; echo goodbye; exit 0' TERM\necho ready\nwhile :; do echo tick; sleep 0.1; done"

// saidGoodbye fails unless the step of a build had the time to end, and the journal says so.
func saidGoodbye(t *testing.T, results string) {
	t.Helper()
	var lines []string
	for e, err := range journal.Read(results) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == worker.KindLog && string(e.Line) != "tick" {
			lines = append(lines, string(e.Line))
		}
	}
	if !slices.Contains(lines, "goodbye") {
		t.Errorf("the step was not given the time to end; its log: %q", lines)
	}
}

// TestTerminalCloses takes the terminal away, which sends SIGHUP and makes every write fail, and lets the shell in it send another one.
func TestTerminalCloses(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results")
	s := start(t, 80, 20, wharf(t, "run", "--results", results, definition(t, lastWords)))
	s.until(t, "ready")
	if err := s.pty.Close(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	if code := exitCode(t, s.cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	saidGoodbye(t, results)
	nothingLeft(t, s.cmd)
}

// TestInterruptedPipeline is Ctrl-C in "wharf run | cat": both get the signal.
func TestInterruptedPipeline(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results")
	cmd := wharf(t, "run", "--results", results, definition(t, lastWords))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for n := 0; !bytes.Contains(buf[:n], []byte("ready")); {
		if n, err = out.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 130 || strings.Contains(stderr.String(), "Ending by force") {
		t.Errorf("exit code %d, want 130 and a graceful end:\n%s", code, stderr.String())
	}
	saidGoodbye(t, results)
	nothingLeft(t, cmd)
}
