package main

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKillAtAnyMoment kills builds at random moments: what they leave is collected, and a build that lives beside them is not touched.
func TestKillAtAnyMoment(t *testing.T) {
	t.Parallel()
	n := 6
	if os.Getenv("WHARF_SOAK") != "" {
		n = 50
	}
	living := wharf(t, "run", "--output", "plain", definition(t, "i=0\nwhile :; do echo tick $i; i=$((i+1)); sleep 0.05; done"))
	ticks, _ := launch(t, living)
	defer living.Process.Kill()
	until(t, ticks, "| tick")
	for range n {
		after := rand.N(2500 * time.Millisecond)
		killed := exec.Command("wharf", "run", "--output", "plain", "--parallel", "3", "testdata/stages")
		killed.Env = living.Env
		if err := killed.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after, func() { killed.Process.Kill() })
		killed.Wait()
		timer.Stop()
		for said, again := "", 0; said != "nothing to remove\n"; again++ { // what was asked for in the last moment may appear late
			gc := exec.Command("wharf", "gc")
			gc.Env = living.Env
			out, err := gc.CombinedOutput()
			if said = string(out); err != nil || again > 2 {
				t.Errorf("killed after %v: %v\n%s", after, err, said)
				break
			}
		}
		nothingLeft(t, living)
		until(t, ticks, "| tick")
	}
	living.Process.Signal(syscall.SIGINT)
	rest, _ := io.ReadAll(ticks)
	if code := exitCode(t, living.Wait()); code != 130 || strings.Contains(string(rest), "errored") {
		t.Errorf("the build that lives ends with exit code %d, want 130:\n%.4000s", code, rest)
	}
	nothingLeft(t, living)
}
