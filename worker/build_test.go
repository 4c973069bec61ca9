package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
)

func TestBuild(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, steps("build", "echo one; warn two", "cat a/b")+steps("test", "write out x; cat out")))
	cfg.Repository = repository(t, map[string]string{"a/b": "from the repository"})
	if out := b.run(cfg); out != (Outcome{State: Succeeded}) {
		t.Fatalf("outcome %+v", out)
	}
	if diff := cmp.Diff([]string{"one", "two"}, slices.Sorted(slices.Values(b.log("build--s0")))); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"from the repository"}, b.log("build--s1")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	for step, want := range map[string]State{"build--s0": Succeeded, "build--s1": Succeeded, "test--s0": Succeeded} {
		if got := b.last(KindStep, step); got != want {
			t.Errorf("%s: %s, want %s", step, got, want)
		}
	}
	if diff := cmp.Diff([]State{Running, Succeeded}, b.states(KindBuild, "")); diff != "" {
		t.Errorf("build (-want +got):\n%s", diff)
	}
	if w := b.warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestStages(t *testing.T) {
	for _, c := range []struct {
		name   string
		text   string
		want   State
		stages map[string]State
	}{
		{"failure skips", steps("a", "exit 3") + steps("b", "echo"), Failed, map[string]State{"a": Failed, "b": Skipped}},
		{"run-if fail", steps("a", "exit 3") + "b:\n  run-if: fail\n" + after(steps("b", "echo")), Failed, map[string]State{"a": Failed, "b": Succeeded}},
		{"run-if fail, none did", steps("a", "echo") + "b:\n  run-if: fail\n" + after(steps("b", "echo")), Succeeded, map[string]State{"a": Succeeded, "b": Skipped}},
		{"run-if always", steps("a", "exit 3") + "b:\n  run-if: always\n" + after(steps("b", "echo")), Failed, map[string]State{"a": Failed, "b": Succeeded}},
		{"filtered", steps("a", "echo") + "b:\n  environments: [x]\n" + after(steps("b", "echo")), Succeeded, map[string]State{"a": Succeeded, "b": Skipped}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, fake.Config{})
			text := c.text
			if strings.Contains(text, "[x]") {
				text = "environments: {x: {}}\n" + text
			}
			if out := b.run(b.config(plan(t, text))); out.State != c.want || out.State != Succeeded && !strings.Contains(out.Reason, "a/s0: exited with code 3") {
				t.Errorf("outcome %+v, want %s", out, c.want)
			}
			for stage, want := range c.stages {
				if got := b.last(KindStage, stage); got != want {
					t.Errorf("stage %s: %s, want %s", stage, got, want)
				}
			}
		})
	}
}

// after cuts off the first line.
func after(text string) string {
	_, text, _ = strings.Cut(text, "\n")
	return text
}

func TestNeeds(t *testing.T) {
	b := newBench(t, fake.Config{})
	text := `
build:
  first:  {container: {image: img, cmds: [write f 1]}}
  second: {container: {image: img, cmds: [cat f, exit 2], needs: [first]}}
  third:  {container: {image: img, cmds: [echo], needs: [second]}}
  fourth: {container: {image: img, cmds: [cat f], needs: [first]}}
`
	if out := b.run(b.config(plan(t, text))); out.State != Failed || out.Reason != "build/second: exited with code 2" {
		t.Errorf("outcome %+v", out)
	}
	want := map[string]State{"build--first": Succeeded, "build--second": Failed, "build--third": Skipped, "build--fourth": Succeeded}
	for step, want := range want {
		if got := b.last(KindStep, step); got != want {
			t.Errorf("%s: %s (%s), want %s", step, got, b.reason(step), want)
		}
	}
}

// The reason names one step, and says that there are more.
func TestMoreFailures(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, steps("build", "exit 2", "exit 2", "echo")+`
last:
  run-if: always
  one: {container: {image: img, cmds: [exit 3]}}
`))
	cfg.Parallel = 1
	if out := b.run(cfg); out.State != Failed || !strings.HasSuffix(out.Reason, ": exited with code 2, and 2 more") {
		t.Errorf("outcome %+v", out)
	}
}

// A step is called by its name, not by its ID.
func TestNeedsByName(t *testing.T) {
	b := newBench(t, fake.Config{})
	p := plan(t, `
build:
  unit: {container: {image: img, cmds: ["exit ${n}"], matrix: {n: [2]}}}
  next: {container: {image: img, cmds: [echo], needs: [unit]}}
  last: {container: {image: img, cmds: [echo], needs: [next]}}
`)
	b.run(b.config(p))
	for step, want := range map[string]string{"build--next": "it needs unit (2), which failed", "build--last": "it needs next, which was skipped"} {
		if got := b.reason(step); got != want {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
}

// No more steps run at once than there are slots, and none shares a network with another that runs.
func TestParallel(t *testing.T) {
	b := newBench(t, fake.Config{})
	var many []string
	for range 12 {
		many = append(many, "echo")
	}
	text := steps("a", many...) + steps("b", many...) + steps("c", many...)
	cfg := b.config(plan(t, text))
	cfg.Parallel = 3
	if out := b.run(cfg); out.State != Succeeded {
		t.Fatalf("outcome %+v", out)
	}
	running, most := map[string]bool{}, 0
	for _, e := range b.events {
		if e.Kind == KindStep {
			if e.State.Final() {
				delete(running, e.Step)
			} else {
				running[e.Step] = true
			}
			most = max(most, len(running))
		}
	}
	if most != 3 {
		t.Errorf("%d steps ran at once, want 3", most)
	}
}

func TestWorth(t *testing.T) {
	for _, c := range []struct {
		stages   []int
		parallel int
		want     int
	}{
		{[]int{1}, 2, 0}, {[]int{1, 1, 1}, 2, 0}, {slices.Repeat([]int{1}, 20), 2, 1}, {[]int{20}, 20, 0},
		{[]int{20}, 2, 4}, {[]int{4, 4, 4, 4}, 4, 4}, {nil, 2, 0},
	} {
		p := &pipeline.Plan{}
		for _, n := range c.stages {
			p.Stages = append(p.Stages, pipeline.Stage{RunIf: pipeline.RunIfSuccess, Steps: make([]pipeline.Step, n)})
		}
		if got := worth(p, c.parallel); got != c.want {
			t.Errorf("worth(%v, %d) = %d, want %d", c.stages, c.parallel, got, c.want)
		}
	}
}

func TestRetry(t *testing.T) {
	const text = `
build:
  s: {container: {image: img, cmds: [%s], retry: {count: 2, on: [%s]}}}
`
	t.Run("failure", func(t *testing.T) {
		b := newBench(t, fake.Config{})
		if out := b.run(b.config(plan(t, fmt.Sprintf(text, "exit 3", "failure")))); out.State != Failed {
			t.Errorf("outcome %+v", out)
		}
		if w := b.warnings(); len(w) != 2 || !strings.Contains(w[0], "attempt 1 of 3: exited with code 3") {
			t.Errorf("warnings %q", w)
		}
		stored := slices.DeleteFunc(slices.Clone(b.events), func(e Event) bool { return e.Seq == 0 })
		if e := stored[len(stored)-3]; e.Kind != KindStep || e.Attempt != 3 || e.Result == nil || e.Result.Code != 3 {
			t.Errorf("last event of the step: %+v", e)
		}
	})
	t.Run("not for this cause", func(t *testing.T) {
		b := newBench(t, fake.Config{})
		if out := b.run(b.config(plan(t, fmt.Sprintf(text, "exit 3", "infrastructure")))); out.State != Failed || len(b.warnings()) != 0 {
			t.Errorf("outcome %+v, warnings %q", out, b.warnings())
		}
	})
}

func TestCache(t *testing.T) {
	b := newBench(t, fake.Config{})
	text := `
build:
  s: {container: {image: img, cmds: [%s], user: %q, cache: [{path: deps, key: "go/%%s"}, {path: /var/cache/x, key: other}]}}
`
	cfg := b.config(plan(t, fmt.Sprintf(text, "write deps/f kept", "0")))
	cfg.Project = "group/project"
	if out := b.run(cfg); out.State != Succeeded {
		t.Fatalf("outcome %+v, log %q", out, b.log("build--s"))
	}
	b.events = nil
	cfg = b.config(plan(t, fmt.Sprintf(text, "cat deps/f", "0")))
	cfg.Project = "group/project"
	if out := b.run(cfg); out.State != Succeeded || b.log("build--s")[0] != "kept" {
		t.Errorf("outcome %+v, log %q", out, b.log("build--s"))
	}
	b.events = nil
	cfg = b.config(plan(t, fmt.Sprintf(text, "cat deps/f", "0")))
	cfg.Project = "group/other"
	if out := b.run(cfg); out.State != Failed {
		t.Errorf("another project sees the cache: %+v", out)
	}
	b.events = nil
	cfg = b.config(plan(t, fmt.Sprintf(text, "write deps/f x", "1000")))
	cfg.Project = "group/third"
	if out := b.run(cfg); out.State != Succeeded {
		t.Errorf("another user cannot write: %+v, log %q", out, b.log("build--s"))
	}
}

func TestArtifacts(t *testing.T) {
	b := newBench(t, fake.Config{})
	text := `
build:
  s:
    container:
      image: img
      cmds: [mkdir bin, mkdir bin/sub, write bin/app binary, write bin/sub/lib library, write report.trx xml, write other x]
      artifacts: [bin, "**/*.trx", none/*.txt]
`
	cfg := b.config(plan(t, text))
	if out := b.run(cfg); out.State != Succeeded {
		t.Fatalf("outcome %+v, %q", out, b.log("build--s"))
	}
	got := map[string]int64{}
	for _, e := range b.events {
		if e.Kind == KindArtifact {
			got[e.Name] = e.Size
			if len(e.SHA256) != 64 {
				t.Errorf("%s: SHA-256 %q", e.Name, e.SHA256)
			}
		}
	}
	if diff := cmp.Diff(map[string]int64{"bin/app": 6, "bin/sub/lib": 7, "report.trx": 3}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	kept, err := os.ReadFile(filepath.Join(cfg.Results, journal.Artifacts, "build--s", "bin", "sub", "lib"))
	if err != nil || string(kept) != "library" {
		t.Errorf("kept %q, %v", kept, err)
	}
	if w := b.warnings(); len(w) != 1 || !strings.Contains(w[0], "none/*.txt") {
		t.Errorf("warnings %q", w)
	}
}

func TestMasking(t *testing.T) {
	b := newBench(t, fake.Config{})
	p := plan(t, steps("build", "echo before s3cret after"))
	p.Secrets = []string{"s3cret"}
	cfg := b.config(p)
	// The script holds the secret, so it travels in a file, which the tiny shell does not read.
	if out := b.run(cfg); out.State == Errored {
		t.Fatalf("outcome %+v", out)
	}
	text, err := os.ReadFile(filepath.Join(cfg.Results, journal.PlanFile))
	if err != nil || strings.Contains(string(text), "s3cret") || !strings.Contains(string(text), "before *** after") {
		t.Errorf("plan.json: %v\n%s", err, text)
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t, fake.Config{})
	check := func(name, text string, want ...string) {
		t.Run(name, func(t *testing.T) {
			_, err := New(b.config(plan(t, text)))
			for _, w := range want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("New: %v, want %q", err, w)
				}
			}
		})
	}
	check("types", "build:\n  a: {kubectl: {file: x}}\n  b: {helm: {chart: c, name: n, namespace: m}}\n", "step build/a: type kubectl cannot be run yet", "step build/b: type helm")
	check("secret", "build:\n  a: {container: {image: img, cmds: [x], secretName: s}}\n", "no secret store is configured")
	t.Run("cache", func(t *testing.T) {
		p := plan(t, "build:\n  a: {container: {image: img, cmds: [x], cache: [{path: y, key: k}]}}\n")
		p.Stages[0].Steps[0].Cache[0].Path = "."
		if _, err := New(b.config(p)); err == nil || !strings.Contains(err.Error(), `path "."`) {
			t.Errorf("New: %v", err)
		}
	})
	if _, err := New(Config{}); err == nil {
		t.Error("New of nothing succeeds")
	}
	t.Run("windows", func(t *testing.T) {
		cfg := b.config(plan(t, "build:\n  a: {container: {image: img, cmds: [x], os: windows}}\n"))
		if out := b.run(cfg); out.State != Errored || !strings.Contains(out.Reason, "step build/a needs os windows, which fake (in memory) does not have") {
			t.Errorf("outcome %+v", out)
		}
	})
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a-", 31) + "a"
	for _, name := range []string{taskName(NewID(), "build--web", 1), taskName(NewID(), long, 10), taskName(strings.Repeat("x", maxID), long, 11),
		cacheName("", ""), cacheName("p", "Über/Go.sum ${x}"), cacheName("p", strings.Repeat("k", 1000))} {
		if err := driver.ValidName(name); err != nil {
			t.Error(err)
		}
	}
	if cacheName("a", "bc") == cacheName("ab", "c") {
		t.Error("two caches have one name")
	}
	ids := []string{NewID(), NewID(), NewID()}
	if ids[0] == ids[1] || len(ids[0]) != 16 || ids[0][:6] > ids[2][:6] {
		t.Errorf("IDs %q", ids)
	}
}
