//go:build unix

package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
)

// brokenOff makes the results of a build whose process is gone, with so many lines.
func brokenOff(t *testing.T, lines int) (results string) {
	t.Helper()
	results = t.TempDir()
	w, err := journal.Create(results, journal.Options{Build: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if lines > 0 {
		w.Append(journal.Event{Kind: journal.KindBuild, State: worker.Running})
	}
	log := w.Log("build--step")
	for range lines {
		log.Write(time.Now(), "", "stdout", []byte(strings.Repeat("x", 1000)), false)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return results
}

// An interrupt ends the reading of files too.
func TestInterruptedLogs(t *testing.T) {
	cmd := wharf(t, "logs", brokenOff(t, 50_000))
	out, stderr := launch(t, cmd)
	until(t, out, "| xxx")
	_ = cmd.Process.Signal(os.Interrupt)
	n, _ := io.Copy(io.Discard, out)
	if code := exitCode(t, cmd.Wait()); code != 130 || n > 40_000_000 || stderr.Len() > 0 {
		t.Errorf("exit code %d, want 130; %d bytes came\n%s", code, n, stderr)
	}
}

func TestLogsOnAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	cmd := wharf(t, "logs", brokenOff(t, 5000))
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = full, &stderr
	if code := exitCode(t, cmd.Run()); code != 3 || !strings.Contains(stderr.String(), "the output could not be written") {
		t.Errorf("exit code %d, want 3:\n%s", code, &stderr)
	}
}

// Who follows a build that nobody runs any more is told; one without any entry has no beginning.
func TestBrokenOff(t *testing.T) {
	results := brokenOff(t, 1)
	out, err := wharf(t, "logs", "--follow", results).CombinedOutput()
	if exitCode(t, err) != 0 || !strings.Contains(string(out), "| xxx") || !strings.Contains(string(out), "wharf: the build was broken off") {
		t.Errorf("wharf logs: %v\n%s", err, out)
	}
	out, err = wharf(t, "ps", "nothing", results, filepath.Join(results, "none"), brokenOff(t, 0)).CombinedOutput()
	text := string(out)
	if exitCode(t, err) != 2 || strings.Count(text, "\nb ") != 2 || !strings.Contains(text, "no build \"nothing\"") || !strings.Contains(text, "b      broken off  -  ") {
		t.Errorf("wharf ps: %v\n%s", err, out)
	}
}

// A worker that is stopped while its runtime does not answer yet was cancelled.
func TestWorkerInterruptedEarly(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := wharf(t, "worker", definition(t, "echo"), "--results", filepath.Join(t.TempDir(), "results"), "--driver", "docker://"+socket)
	_, stderr := launch(t, cmd)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if code := exitCode(t, cmd.Wait()); code != 130 || !strings.Contains(stderr.String(), "cancelled before the build began (terminated)") {
		t.Errorf("exit code %d, want 130:\n%s", code, stderr)
	}
}
