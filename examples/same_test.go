package examples

import (
	"crypto/rand"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
)

// TestSameJournal runs one build on every runtime. But for times, and for the order of what happens side by side, their journals
// tell the same.
func TestSameJournal(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	told := map[string]map[string][]string{}
	t.Run("builds", func(t *testing.T) {
		onAll(t, func(t *testing.T, runtime string) {
			url := withOwner(driverOf(runtime), "same-journal-"+strings.ToLower(rand.Text()))
			defer removeCaches(t, url)
			o := wharfRun(t, url, "testdata/everything", "--var=IMAGE=localhost/wharf/busybox:1")
			o.check(t, 1, map[string]string{"logs": "succeeded", "tasks": "succeeded", "files": "succeeded", "ends": "failed",
				"ends--again": "succeeded", "ends--late": "failed", "never": "skipped", "mourning": "succeeded"})
			story := tell(t, o.results)
			mu.Lock()
			defer mu.Unlock()
			told[runtime] = story
		})
	})
	first := told[runtimes[0]]
	for _, runtime := range runtimes[1:] {
		if diff := cmp.Diff(first, told[runtime]); diff != "" {
			t.Errorf("the journal on %s differs from that on %s (-%[2]s +%[1]s):\n%s", runtime, runtimes[0], diff)
		}
	}
}

// withOwner adds an owner to the name or URL of a driver.
func withOwner(name, owner string) string {
	if !strings.Contains(name, "://") {
		name += "://"
	}
	sign := "?"
	if strings.Contains(name, "?") {
		sign = "&"
	}
	return name + sign + "owner=" + owner
}

// removeCaches removes the caches of an owner, which outlive builds.
func removeCaches(t *testing.T, url string) {
	if out, err := exec.Command(wharf, "gc", "--caches", "--driver="+url).CombinedOutput(); err != nil {
		t.Errorf("wharf gc --caches: %v\n%s", err, out)
	}
}

// tell returns what a journal says, in the order in which it says it, of each of those that have an order of their own: the build, each
// stage, each step, and each stream of each container.
func tell(t *testing.T, results string) map[string][]string {
	t.Helper()
	story := map[string][]string{}
	seq := uint64(0)
	for e, err := range journal.Read(results) {
		if err != nil {
			t.Errorf("the journal cannot be read: %v", err)
			break
		}
		if seq++; e.Seq != seq {
			t.Errorf("event %d has the number %d", seq, e.Seq)
		}
		if e.State == worker.Preparing {
			continue // told only of a step whose turn it is before it is prepared
		}
		of, what := sentence(e)
		story[of] = append(story[of], what)
	}
	for of, said := range story {
		if strings.HasSuffix(of, " kept") {
			slices.Sort(said) // artifacts are kept in the order in which the runtime hands them out
		}
	}
	return story
}

// sentence says what an event tells without its time, and of what it tells it.
func sentence(e worker.Event) (of, what string) {
	switch e.Kind {
	case worker.KindBuild:
		return "build", string(e.State)
	case worker.KindStage:
		return "stage " + e.Stage, string(e.State)
	case worker.KindLog:
		return fmt.Sprintf("step %s %s %s", e.Step, e.Container, e.Stream), fmt.Sprintf("%q %t", e.Line, e.Partial)
	case worker.KindArtifact:
		return "step " + e.Step + " kept", fmt.Sprint(e.Name, " ", e.Size, " ", e.SHA256)
	case worker.KindWarning:
		return "step " + e.Step + " warnings", e.Reason
	}
	what = fmt.Sprintf("%s attempt %d %s", e.State, e.Attempt, e.Reason)
	if r := e.Result; r != nil {
		what += fmt.Sprintf(": %v, code %d, signal %d", r.Outcome, r.Code, r.Signal)
	}
	return "step " + e.Step, what
}
