package examples

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wharf is the path of the command, built once for all tests.
var wharf string

// runtimes are those that the examples run on. One that is missing fails the tests.
var runtimes = []string{"docker", "podman", "containerd", "kubernetes"}

// driverOf is what --driver takes for a runtime: its name, or the URL of one that the tests were started with.
func driverOf(runtime string) string {
	return cmp.Or(os.Getenv("WHARF_TEST_"+strings.ToUpper(runtime)), runtime)
}

// onAll runs a test on each runtime.
func onAll(t *testing.T, test func(t *testing.T, runtime string)) {
	t.Parallel()
	for _, runtime := range runtimes {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			test(t, runtime)
		})
	}
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wharf-examples-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	wharf = filepath.Join(dir, "wharf")
	build := exec.Command("go", "build", "-o", wharf, "../cmd/wharf")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// outcome is what a run of the command told.
type outcome struct {
	code    int
	states  map[string]string   // the last state of each stage, by name, and of each step, by ID
	lines   map[string][]string // of each step's log
	results string              // directory
	stderr  string
}

// wharfRun runs "wharf run" on a directory of this repository.
func wharfRun(t *testing.T, runtime, dir string, flags ...string) outcome {
	t.Helper()
	o := outcome{states: map[string]string{}, lines: map[string][]string{}, results: filepath.Join(t.TempDir(), "results")}
	cmd := exec.CommandContext(t.Context(), wharf, append([]string{"run", dir, "--driver=" + driverOf(runtime), "--output=json", "--results=" + o.results}, flags...)...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	o.stderr = stderr.String()
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var e struct{ Kind, Stage, Step, State, Line string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		switch e.Kind {
		case "stage":
			o.states[e.Stage] = e.State
		case "step":
			o.states[e.Step] = e.State
		case "log":
			o.lines[e.Step] = append(o.lines[e.Step], e.Line)
		}
	}
	return o
}

// check compares the exit code and some of the states, and shows what the command said if they are not as wanted.
func (o outcome) check(t *testing.T, code int, states map[string]string) {
	t.Helper()
	bad := o.code != code
	for name, want := range states {
		bad = bad || o.states[name] != want
	}
	if !bad {
		return
	}
	t.Errorf("exit code %d, want %d; states %v, want %v\n%s", o.code, code, o.states, states, o.stderr)
	for step, lines := range o.lines {
		t.Logf("%s:\n%s", step, strings.Join(lines, "\n"))
	}
}

func TestHello(t *testing.T) {
	onAll(t, func(t *testing.T, runtime string) {
		o := wharfRun(t, runtime, "hello")
		o.check(t, 0, map[string]string{"greet": "succeeded", "check": "succeeded", "apologize": "skipped",
			"check--same-workspace": "succeeded", "check--count": "succeeded"})
		if want := []string{"Hello, world!"}; !slices.Equal(o.lines["greet--hello"], want) {
			t.Errorf("greet--hello printed %q, want %q", o.lines["greet--hello"], want)
		}
		if want := []string{"step 1 of 3", "step 2 of 3", "step 3 of 3"}; !slices.Equal(o.lines["check--count"], want) {
			t.Errorf("check--count printed %q, want %q", o.lines["check--count"], want)
		}
		if _, err := os.Stat("hello/greeting.txt"); !os.IsNotExist(err) {
			t.Errorf("the build wrote into the user's directory: %v", err)
		}
	})
}

func TestHelloTakesEnvironmentAndInput(t *testing.T) {
	onAll(t, func(t *testing.T, runtime string) {
		o := wharfRun(t, runtime, "hello", "--environment=formal", "--input=who=everybody")
		o.check(t, 0, nil)
		if want := []string{"Good day, everybody!"}; !slices.Equal(o.lines["check--same-workspace"], want) {
			t.Errorf("check--same-workspace printed %q, want %q", o.lines["check--same-workspace"], want)
		}
	})
}

func TestHelloFails(t *testing.T) {
	onAll(t, func(t *testing.T, runtime string) {
		o := wharfRun(t, runtime, "hello", "--input=mood=bad")
		o.check(t, 1, map[string]string{"greet": "succeeded", "check": "failed", "check--same-workspace": "failed",
			"check--count": "succeeded", "apologize": "succeeded", "apologize--sorry": "succeeded"})
		if want := []string{"Sorry, world, that went wrong."}; !slices.Equal(o.lines["apologize--sorry"], want) {
			t.Errorf("apologize--sorry printed %q, want %q", o.lines["apologize--sorry"], want)
		}
	})
}

func TestGoProject(t *testing.T) {
	onAll(t, func(t *testing.T, runtime string) {
		o := wharfRun(t, runtime, "go-project")
		o.check(t, 0, map[string]string{"check": "succeeded", "test": "succeeded", "build": "succeeded"})
		if !slices.ContainsFunc(o.lines["test--unit"], func(l string) bool { return strings.Contains(l, "PASS: TestTop/other_alphabets") }) {
			t.Errorf("the unit tests did not run: %q", o.lines["test--unit"])
		}
		words := exec.Command(filepath.Join(o.results, "artifacts", "build--words", "bin", "words"), "-n", "1")
		words.Stdin = strings.NewReader("one two two")
		if out, err := words.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "2 two" {
			t.Errorf("the binary that the build left: %q, %v", out, err)
		}
	})
}

// TestWharfBuildsItself runs the .wharf-ci.yml of this repository, and the command that comes out of it.
func TestWharfBuildsItself(t *testing.T) {
	t.Parallel()
	o := wharfRun(t, "docker", "..")
	o.check(t, 0, map[string]string{"source": "succeeded", "build": "succeeded", "test": "succeeded"})
	built := filepath.Join(o.results, "artifacts", "build--wharf", "bin", "wharf")
	if out, err := exec.Command(built, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "wharf") {
		t.Errorf("the command that Wharf built: %q, %v", out, err)
	}
}

// TestPrograms runs the programs that show a driver each.
func TestPrograms(t *testing.T) {
	onAll(t, func(t *testing.T, runtime string) {
		out, err := exec.CommandContext(t.Context(), "go", "run", "./"+runtime, "localhost/wharf/busybox:1").CombinedOutput()
		if want := "stdout: hello, world\nexited with code 0\ngreeting: hello, world\n"; err != nil || string(out) != want {
			t.Errorf("%v, it printed\n%s", err, out)
		}
	})
}

// TestConformanceCommand has the command look at some of the suite's rules.
func TestConformanceCommand(t *testing.T) {
	onAll(t, func(t *testing.T, runtime string) {
		args := []string{"conformance", "--driver=" + driverOf(runtime), "--run=^results/exit-code-1$|^lifecycle/second-process$|^results/killed-outside$"}
		if runtime == "kubernetes" {
			args = append(args, "--node-containerd="+os.Getenv("CONTAINERD_ADDRESS"))
		}
		out, err := exec.CommandContext(t.Context(), wharf, args...).CombinedOutput()
		if want := "passed: "; err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, it printed\n%s", err, out)
		}
	})
}
