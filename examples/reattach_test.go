package examples

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
)

// killsEnv says how often the worker is killed on each runtime; "make soak" says 100.
const killsEnv = "WHARF_TEST_KILLS"

// reattachSteps are the steps of testdata/reattach, with what they print: each line has a number, and each step makes a file that must not be there yet.
var reattachSteps = map[string]int{"one--a": 400, "one--b": 400, "two--a": 400, "two--b": 400}

// TestReattach kills a worker, at random moments, and starts it again on the same results, until the build has ended. Then each step has run once, and the journal
// has each line once.
func TestReattach(t *testing.T) {
	onAll(t, func(t *testing.T, runtime string) {
		kills, err := strconv.Atoi(cmp.Or(os.Getenv(killsEnv), "4"))
		if err != nil {
			t.Fatal(err)
		}
		for killed, round := 0, 0; killed < kills; round++ {
			killed += reattach(t, runtime, kills-killed, rand.Uint64())
			if t.Failed() {
				return
			}
		}
	})
}

// reattach runs one build, and returns how often its worker was killed: most times at most.
func reattach(t *testing.T, runtime string, most int, seed uint64) (killed int) {
	t.Helper()
	results := filepath.Join(t.TempDir(), "results")
	r := rand.New(rand.NewPCG(seed, 0))
	var said bytes.Buffer
	for {
		cmd := exec.CommandContext(t.Context(), wharf, "worker", "testdata/reattach", "--driver="+driverOf(runtime), "--results="+results, "--linger=0s", "--var=IMAGE=localhost/wharf/busybox:1")
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var err error
		if killed < most {
			timer := time.NewTimer(time.Duration(r.Int64N(int64(4 * time.Second))))
			select {
			case err = <-ended:
			case <-timer.C:
				_ = cmd.Process.Signal(syscall.SIGKILL)
				err = <-ended
			}
			timer.Stop()
		} else {
			err = <-ended
		}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			killed++
			continue
		}
		if err != nil {
			t.Errorf("%d kills, seed %d: the worker: %v", killed, seed, err)
		}
		break
	}
	printedOnce(t, results)
	if t.Failed() {
		t.Logf("%d kills, seed %d; the workers said:\n%s", killed, seed, &said)
	}
	return killed
}

// printedOnce looks at the journal of a build: the numbers of its entries have no gap, each step has succeeded, and has printed each of its lines once.
func printedOnce(t *testing.T, results string) {
	t.Helper()
	seq := uint64(0)
	lines := map[string]int{}
	ended := map[string]bool{}
	for e, err := range journal.Read(results) {
		if err != nil {
			t.Error(err)
			return
		}
		if seq++; e.Seq != seq {
			t.Errorf("entry %d has the number %d", seq, e.Seq)
			return
		}
		switch {
		case e.Kind == worker.KindLog:
			if want := fmt.Sprintf("line %d of %s", lines[e.Step]+1, e.Step); string(e.Line) != want {
				t.Errorf("%q was told where %q was expected", e.Line, want)
				return
			}
			lines[e.Step]++
		case e.Kind == worker.KindStep && e.State.Final():
			if e.State != worker.Succeeded || ended[e.Step] {
				t.Errorf("step %s: %s %s (ended before: %v)", e.Step, e.State, e.Reason, ended[e.Step])
			}
			ended[e.Step] = true
		}
	}
	for step, want := range reattachSteps {
		if lines[step] != want || !ended[step] {
			t.Errorf("step %s told %d lines, want %d; ended: %v", step, lines[step], want, ended[step])
		}
	}
	if text, err := os.ReadFile(filepath.Join(results, "steps", "one--a", "output.log")); err != nil || strings.Count(string(text), "\n") != reattachSteps["one--a"] {
		t.Errorf("the log for people: %d lines, %v", strings.Count(string(text), "\n"), err)
	}
}
