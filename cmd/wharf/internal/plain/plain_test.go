package plain

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

var plan = &pipeline.Plan{Stages: []pipeline.Stage{
	{Name: "build", Steps: []pipeline.Step{{ID: "build--web", Name: "web"}, {ID: "build--api", Name: "api"}}},
	{Name: "deploy", Steps: []pipeline.Step{{ID: "deploy--all", Name: "all"}}},
}}

func at(ms int) time.Time { return time.Unix(0, 0).UTC().Add(time.Duration(ms) * time.Millisecond) }

func logged(step, line string, partial bool) worker.Event {
	return worker.Event{Kind: worker.KindLog, Step: step, Stream: "stdout", Line: []byte(line), Partial: partial}
}

func TestPrinter(t *testing.T) {
	events := []worker.Event{
		{Kind: worker.KindBuild, State: worker.Running, Time: at(0)},
		{Kind: worker.KindStage, Stage: "build", State: worker.Running, Time: at(1)},
		{Kind: worker.KindStep, Stage: "build", Step: "build--web", State: worker.Preparing, Attempt: 1, Time: at(1)},
		{Kind: worker.KindPull, Image: "alpine:3", Done: 1, Total: 100},
		{Kind: worker.KindPull, Image: "alpine:3", Done: 50, Total: 100},
		{Kind: worker.KindStep, Stage: "build", Step: "build--web", State: worker.Running, Attempt: 1, Time: at(100)},
		logged("build--web", "\x1b[32mhello\x1b[0m", false),
		logged("build--web", "half a ", true),
		logged("build--api", "another", false),
		logged("build--web", "line", false),
		logged("build--web", "no end", true),
		{Kind: worker.KindLog, Step: "build--web", Container: "d\x1b[2Jb", Stream: "stderr", Line: []byte("ready")},
		{Kind: worker.KindArtifact, Step: "build--web", Name: "bin/web", Size: 2048},
		{Kind: worker.KindWarning, Reason: "a socket\nwas left out"},
		{Kind: worker.KindStop, State: worker.Failed, Reason: "the time is\nup"},
		{Kind: worker.KindStep, Stage: "build", Step: "build--web", State: worker.Failed, Attempt: 2, Time: at(1600),
			Result: &driver.Result{Outcome: driver.Exited, Code: 2}},
		{Kind: worker.KindStep, Stage: "build", Step: "build--api", State: worker.Starting, Attempt: 1, Time: at(1600)},
		{Kind: worker.KindStep, Stage: "build", Step: "build--api", State: worker.Failed, Attempt: 1, Time: at(1600), Reason: "start failed"},
		{Kind: worker.KindStage, Stage: "build", State: worker.Failed, Time: at(1700)},
		{Kind: worker.KindStage, Stage: "deploy", State: worker.Skipped, Reason: "an earlier stage failed", Time: at(1700)},
		{Kind: worker.KindBuild, State: worker.Failed, Reason: "build/web: exited with code 2", Time: at(1800)},
	}
	want := `wharf | -- running
build | -- running
build/web | -- preparing
wharf | -- pulling alpine:3
build/web | -- running
build/web | hello
build/api | another
build/web | half a line
build/web:db | ready
build/web | -- kept bin/web (2.0 KiB)
wharf | -- warning: a socket; was left out
wharf | -- stopping: the time is; up
build/web | no end
build/web | -- failed (attempt 2) after 1.5s: exited with code 2
build/api | -- starting
build/api | -- failed: start failed
build | -- failed after 1.7s
deploy | -- skipped: an earlier stage failed
wharf | -- failed after 1.8s: build/web: exited with code 2
`
	for _, batch := range []int{1, 3, len(events)} { // how events are grouped must not show
		var got bytes.Buffer
		p := New(&got, plan, false)
		for rest := events; len(rest) > 0; {
			n := min(batch, len(rest))
			p.Observe(rest[:n])
			rest = rest[n:]
		}
		p.Close()
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("in batches of %d (-want +got):\n%s", batch, diff)
		}
	}
}

func TestPrinterBoundsLinesWithoutEnd(t *testing.T) {
	var got bytes.Buffer
	p := New(&got, plan, false)
	piece := logged("build--web", string(bytes.Repeat([]byte("x"), 16<<10)), true)
	for range 64 {
		p.Observe([]worker.Event{piece})
	}
	if got.Len() < 900<<10 {
		t.Errorf("only %d bytes of a line of 1 MiB have been written", got.Len())
	}
}

func BenchmarkPrinter(b *testing.B) {
	events := make([]worker.Event, 1000)
	for i := range events {
		events[i] = logged("build--web", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", false)
	}
	p := New(new(discard), plan, false)
	b.ReportAllocs()
	for b.Loop() {
		p.Observe(events)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
