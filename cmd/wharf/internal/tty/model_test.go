package tty

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

var update = flag.Bool("update", false, "write the golden files anew")

func at(seconds float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func stageOf(name string, steps ...string) pipeline.Stage {
	st := pipeline.Stage{Name: name}
	for _, s := range steps {
		st.Steps = append(st.Steps, pipeline.Step{ID: name + "--" + s, Name: s, Container: &pipeline.Container{Image: s + ":1"}})
	}
	return st
}

func stepEvent(id string, state worker.State, seconds float64) worker.Event {
	return worker.Event{Kind: worker.KindStep, Step: id, State: state, Attempt: 1, Time: at(seconds)}
}

func stageEvent(name string, state worker.State, seconds float64) worker.Event {
	return worker.Event{Kind: worker.KindStage, Stage: name, State: state, Time: at(seconds)}
}

func logEvents(id string, lines ...string) (events []worker.Event) {
	for _, line := range lines {
		events = append(events, worker.Event{Kind: worker.KindLog, Step: id, Stream: "stdout", Line: []byte(line)})
	}
	return events
}

// running is a build in its middle, with all that can be on a screen.
func running() *Model {
	m := NewModel(&pipeline.Plan{Stages: []pipeline.Stage{
		stageOf("prepare", "deps"), stageOf("build", "web", "api", "docs"),
		stageOf("test", "unit", "lint", "日本語のテスト", "e2e", "flaky", "slow"), stageOf("deploy", "stage", "prod"), stageOf("report", "mail"),
	}}, "shop on docker 20.10.24")
	events := []worker.Event{
		{Kind: worker.KindBuild, State: worker.Running, Time: at(0)},
		stageEvent("prepare", worker.Running, 0), stepEvent("prepare--deps", worker.Running, 0.2), stepEvent("prepare--deps", worker.Succeeded, 1.5),
		stageEvent("prepare", worker.Succeeded, 1.6), stageEvent("build", worker.Running, 1.6),
	}
	for i, s := range []string{"web", "api", "docs"} {
		events = append(events, stepEvent("build--"+s, worker.Running, 1.7), stepEvent("build--"+s, worker.Succeeded, 3+float64(i)))
	}
	events = append(events, stageEvent("build", worker.Succeeded, 5.1), stageEvent("test", worker.Running, 5.1),
		stepEvent("test--unit", worker.Running, 5.2), stepEvent("test--lint", worker.Running, 5.2), stepEvent("test--日本語のテスト", worker.Running, 5.2),
		stepEvent("test--e2e", worker.Preparing, 5.2), worker.Event{Kind: worker.KindPull, Image: "e2e:1", Done: 12 << 20, Total: 40 << 20},
		worker.Event{Kind: worker.KindWarning, Reason: "run/socket is a socket and was left out"})
	failed := stepEvent("test--lint", worker.Failed, 6.7)
	failed.Result = &driver.Result{Outcome: driver.Exited, Code: 2}
	events = append(events, failed)
	flaky := stepEvent("test--flaky", worker.Running, 6)
	flaky.Attempt = 2
	events = append(events, flaky)
	for i := range 30 {
		events = append(events, logEvents("test--unit", fmt.Sprintf("=== RUN   TestNumber%d", i))...)
	}
	events = append(events, logEvents("test--lint", "\x1b[31mmain.go:3:1\x1b[0m: unused import", "10%\r100%", "\tindented", "\x1b]0;title\x07\x1b[2J")...)
	events = append(events, logEvents("test--日本語のテスト", "テストを実行しています 👩‍💻 とても長い行なので端末の幅に収まりません、切り詰める必要があります。", "ok")...)
	m.Apply(events)
	return m
}

func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestView(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {80, 40}, {120, 12}, {80, 8}, {80, 5}, {80, 3}, {40, 16}, {18, 12}} {
		golden(t, fmt.Sprintf("view-%dx%d", size[0], size[1]), running().View(Look{Unicode: true}, size[0], size[1], at(8)))
	}
	m := running()
	m.Notice("Stopping; interrupt once more to end it by force.")
	golden(t, "view-ascii", m.View(Look{}, 80, 24, at(8)))
	golden(t, "view-colour", m.View(Look{Unicode: true, Colour: true}, 80, 24, at(8)))
	golden(t, "view-before", NewModel(&pipeline.Plan{Stages: []pipeline.Stage{stageOf("build", "web")}}, "x").View(Look{}, 80, 24, at(0)))
}

func TestSummary(t *testing.T) {
	m := running()
	for _, s := range []string{"unit", "日本語のテスト", "flaky", "slow"} {
		m.Apply([]worker.Event{stepEvent("test--"+s, worker.Succeeded, 9)})
	}
	m.Apply([]worker.Event{stepEvent("test--e2e", worker.Cancelled, 9), stageEvent("test", worker.Failed, 9)})
	skipped := stageEvent("deploy", worker.Skipped, 9)
	skipped.Reason = "an earlier stage failed"
	m.Apply([]worker.Event{skipped, stepEvent("deploy--stage", worker.Skipped, 9), stepEvent("deploy--prod", worker.Skipped, 9),
		stageEvent("report", worker.Running, 9), stepEvent("report--mail", worker.Succeeded, 9.5), stageEvent("report", worker.Succeeded, 9.5),
		{Kind: worker.KindBuild, State: worker.Failed, Reason: "test/lint: exited with code 2", Time: at(10)}})
	golden(t, "summary-80", m.Summary(Look{Unicode: true}, 80, at(20)))
	golden(t, "summary-30", m.Summary(Look{}, 30, at(20)))
}

// TestViewFits holds every size against the two promises: not too wide, not too high.
func TestViewFits(t *testing.T) {
	models := map[string]*Model{"running": running(), "many": many(), "empty": NewModel(&pipeline.Plan{}, "nothing")}
	for name, m := range models {
		for height := range 45 {
			for width := range 100 {
				lines := m.View(Look{Unicode: true}, width, height, at(8))
				if len(lines) > max(height, 1) {
					t.Fatalf("%s: %d lines at %dx%d", name, len(lines), width, height)
				}
				for _, line := range lines {
					if text.Width(line) > width {
						t.Fatalf("%s: %q is %d wide at %dx%d", name, line, text.Width(line), width, height)
					}
				}
			}
		}
	}
}

// many is a build with far more stages and steps than rows.
func many() *Model {
	var stages []pipeline.Stage
	for i := range 50 {
		var steps []string
		for j := range 30 {
			steps = append(steps, fmt.Sprintf("step-%d", j))
		}
		stages = append(stages, stageOf(fmt.Sprintf("stage-%d", i), steps...))
	}
	m := NewModel(&pipeline.Plan{Stages: stages}, "many")
	m.Apply([]worker.Event{{Kind: worker.KindBuild, State: worker.Running, Time: at(0)}})
	for i := range 20 {
		m.Apply([]worker.Event{stageEvent(fmt.Sprintf("stage-%d", i), worker.Running, 0), stageEvent(fmt.Sprintf("stage-%d", i), worker.Succeeded, 1)})
	}
	m.Apply([]worker.Event{stageEvent("stage-20", worker.Running, 1)})
	for j := range 10 {
		m.Apply([]worker.Event{stepEvent(fmt.Sprintf("stage-20--step-%d", j+10), worker.Running, 2)})
		m.Apply(logEvents(fmt.Sprintf("stage-20--step-%d", j+10), "working"))
	}
	return m
}

// A step that never ran took no time.
func TestNoTimeWithoutRunning(t *testing.T) {
	m := NewModel(&pipeline.Plan{Stages: []pipeline.Stage{stageOf("build", "web")}}, "x")
	m.Apply([]worker.Event{stageEvent("build", worker.Running, 0), stepEvent("build--web", worker.Starting, 0), stepEvent("build--web", worker.Failed, 0)})
	if got := m.View(Look{}, 40, 5, at(0)); strings.TrimSpace(got[2]) != "x web" {
		t.Errorf("the step's row is %q", got[2])
	}
}

func TestViewOfMany(t *testing.T) {
	golden(t, "many-80x24", many().View(Look{Unicode: true}, 80, 24, at(8)))
}

// Steps that wait are folded away before those that have ended, and both before the output of those that run.
func TestViewFoldsWhatWaits(t *testing.T) {
	var names []string
	for i := range 34 {
		names = append(names, fmt.Sprintf("many (%02d)", i))
	}
	m := NewModel(&pipeline.Plan{Stages: []pipeline.Stage{stageOf("test", names...)}}, "shop")
	m.Apply([]worker.Event{{Kind: worker.KindBuild, State: worker.Running, Time: at(0)}, stageEvent("test", worker.Running, 0)})
	for i, name := range names[:10] {
		id, state := "test--"+name, worker.Succeeded
		m.Apply([]worker.Event{stepEvent(id, worker.Running, 1)})
		m.Apply(logEvents(id, "one", "two", "three"))
		switch {
		case i == 3:
			state = worker.Failed
		case i > 7:
			continue
		}
		m.Apply([]worker.Event{stepEvent(id, state, 2)})
	}
	golden(t, "folded-80x24", m.View(Look{Unicode: true}, 80, 24, at(8)))
	golden(t, "folded-80x12", m.View(Look{Unicode: true}, 80, 12, at(8)))
	golden(t, "folded-80x7", m.View(Look{Unicode: true}, 80, 7, at(8)))
}

func TestTailKeepsPartialLinesTogether(t *testing.T) {
	var l tail
	for _, e := range []worker.Event{{Line: []byte("one "), Partial: true}, {Line: []byte("line")}, {Line: []byte(strings.Repeat("x", 3*tailBytes))}, {Line: []byte("end")}} {
		l.add(&e)
	}
	if diff := cmp.Diff([]string{"one line", strings.Repeat("x", tailBytes), "end"}, l.last(5)); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkApplyLog(b *testing.B) {
	m := running()
	events := logEvents("test--unit", make([]string, 1000)...)
	for i := range events {
		events[i].Line = []byte(strings.Repeat("x", 100))
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Apply(events)
	}
}
