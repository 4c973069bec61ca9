package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// staticWharf is a wharf as "CGO_ENABLED=0 go install" makes it, which the test binary is not. It is built once.
var staticWharf = sync.OnceValues(func() (string, error) {
	var err error
	if staticDir, err = os.MkdirTemp("", "wharf-static-"); err != nil {
		return "", err
	}
	path := filepath.Join(staticDir, "wharf")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// staticDir holds it until the end of the tests; empty if nobody has asked for it.
var staticDir string

// TestConformanceInterrupted interrupts the suite while a task of it runs for ten seconds, and looks whether it ends soon with nothing
// left on the runtime.
func TestConformanceInterrupted(t *testing.T) {
	wharf, err := staticWharf()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), wharf, "conformance", "--driver=docker", "--output=json", "--run=^load/silent$|^images/never$", "--parallel=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Kind, ID, State string
		Interrupted     bool
	}
	last := map[string]line{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Errorf("%q: %v", lines.Text(), err)
		}
		last[l.Kind+l.ID] = l
		if l.ID == "load/silent" && l.State == "running" {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("the command ended with %v; want exit code 130\n%s", err, stderr.String())
	}
	if l := last["caseload/silent"]; l.State != "running" {
		t.Errorf("the case that was interrupted is told as %q", l.State)
	}
	if l := last["caseafter/nothing-left"]; l.State != "passed" {
		t.Errorf("after the interrupt: %+v\n%s", l, stderr.String())
	}
	if !last["end"].Interrupted || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("nobody is told of the interrupt: %+v, %s", last["end"], stderr.String())
	}
}
