package conformance

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver/drivertest"
)

var (
	good = drivertest.Report{ID: "logs/long-line", Group: "logs", Contract: "Lines are whole.", Took: 1500 * time.Millisecond, Notes: []string{"took 3 parts"}}
	bad  = drivertest.Report{ID: "results/oom", Group: "results", Contract: "Beyond <it> the kernel kills.", Took: time.Second,
		Failures: []string{"the result is \x1b[31m\"exited\" & not\nout of memory", "\xff\x00 is odd"}}
)

func testRun() Run {
	return Run{Driver: "docker", Runtime: "docker 1.2", Began: time.Now(), Cases: []drivertest.Case{{ID: "logs/long-line"}, {ID: "results/oom"}, {ID: "results/more"}}}
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	p := NewPlain(&out, testRun())
	p.Begin(drivertest.Case{ID: good.ID})
	p.Observe(good)
	p.Observe(bad)
	if err := p.End([]drivertest.Report{good, bad}, false); err != nil {
		t.Error(err)
	}
	want := `ok    logs/long-line (1.5s)
      took 3 parts
FAIL  results/oom (1.0s)
      contract: Beyond <it> the kernel kills.
      - the result is "exited" & not
        out of memory
      - ` + "\ufffd" + ` is odd
What does not hold:
  results/oom
failed: 1 of 3 rules hold on docker 1.2, 1 do not; TIME
`
	got := regexp.MustCompile(`[0-9.]+m?s\n$`).ReplaceAllString(out.String(), "TIME\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestJSONIsOneObjectALine(t *testing.T) {
	var out bytes.Buffer
	p := NewJSON(&out, testRun())
	p.Begin(drivertest.Case{ID: bad.ID})
	p.Observe(bad)
	p.Observe(good)
	if err := p.End([]drivertest.Report{bad, good}, true); err != nil {
		t.Error(err)
	}
	var states []string
	for line := range strings.Lines(out.String()) {
		var r struct {
			Kind, ID, State string
			Failures        []string
			Interrupted     bool
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		states = append(states, r.Kind+" "+r.ID+" "+r.State)
		if r.Kind == "end" && !r.Interrupted || r.State == "failed" && len(r.Failures) != 2 {
			t.Errorf("%+v", r)
		}
	}
	want := []string{"start  ", "case results/oom running", "case results/oom failed", "case logs/long-line passed", "end  "}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestJUnitIsXML reads the document back: what cannot stand in XML must not break it.
func TestJUnitIsXML(t *testing.T) {
	var out bytes.Buffer
	if err := NewJUnit(&out, testRun()).End([]drivertest.Report{good, bad}, false); err != nil {
		t.Fatal(err)
	}
	var doc junitReport
	if err := xml.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	if doc.Tests != 2 || doc.Failures != 1 || len(doc.Suites) != 2 || doc.Suites[0].Cases[0].Name != "long-line" {
		t.Errorf("%+v", doc)
	}
	f := doc.Suites[1].Cases[0].Failure
	if f == nil || f.Message != bad.Contract || !strings.Contains(f.Text, "out of memory") {
		t.Errorf("the failure is %+v", f)
	}
}

func TestLiveFrame(t *testing.T) {
	l := &live{run: testRun()}
	l.Observe(bad)
	l.Begin(drivertest.Case{ID: "logs/long-line"})
	l.running[0].at = l.run.Began
	l.Notice("Stopping.")
	got := l.lines(l.run.Began.Add(2*time.Second), 58, 10)
	want := []string{"1 of 3 rules looked at, 1 do not hold; 2.0s on docker 1.2", "Stopping.", "  logs/long-line                               2.0s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if n := len(l.lines(l.run.Began, 10, 1)); n != 1 {
		t.Errorf("%d lines on a screen of one", n)
	}
	if len(l.stay) == 0 || !strings.HasPrefix(l.stay[0], "FAIL  results/oom") {
		t.Errorf("what stays is %q", l.stay)
	}
}

func TestUnfitPrograms(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	static := filepath.Join(dir, "static")
	cmd := exec.Command("go", "build", "-o", static, "github.com/wharfci/wharf/driver/drivertest/testprog/bin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if path, err := Program(static, runtime.GOARCH); err != nil || path != static {
		t.Errorf("a static program: %q, %v", path, err)
	}
	for path, want := range map[string]string{text: "no program for Linux", filepath.Join(dir, "none"): "does not exist"} {
		if _, err := Program(path, runtime.GOARCH); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
	if _, err := Program(static, "s390x"); err == nil || !strings.Contains(err.Error(), "needs s390x") {
		t.Errorf("for another architecture: %v", err)
	}
}
