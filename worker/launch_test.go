package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
)

// TestStopIsHeard cancels a build once all its steps have said that they are ready: none of them may last until it is killed.
func TestStopIsHeard(t *testing.T) {
	t.Parallel()
	r := onDocker(t)
	cfg := r.config(`
stop:
  last:
    container: {image: localhost/wharf/busybox:1, cmds: [echo ready, sleep 1000]}
  handover:
    container: {image: localhost/wharf/busybox:1, cmds: [echo ready, exec sleep 1000]}
  more:
    container: {image: localhost/wharf/busybox:1, cmds: [echo ready, sleep 1000, echo never]}
  trap:
    container: {image: localhost/wharf/busybox:1, cmds: [trap 'echo bye; exit 5' TERM, echo ready, sleep 1000, echo never]}
`)
	cfg.Parallel, cfg.Grace = 4, 10*time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := 0
	cfg.Observe = func(events []worker.Event) {
		for _, e := range events {
			if e.Kind == worker.KindLog && string(e.Line) == "ready" {
				if ready++; ready == 4 {
					cancel()
				}
			}
		}
	}
	b, err := worker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.Run(ctx)
	if err != nil || out.State != worker.Cancelled {
		t.Errorf("the build: %+v, %v", out, err)
	}
	got := map[string]string{}
	for e, err := range journal.Read(cfg.Results) {
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Kind == worker.KindLog && e.Stream == driver.Stdout.String(): // shells say on the other that it was terminated
			got[e.Step] += string(e.Line) + " "
		case e.Kind == worker.KindStep && e.Result != nil:
			got[e.Step] += e.Result.String()
		}
	}
	want := map[string]string{
		"stop--last":     "ready killed by signal 15 (TERM)",
		"stop--handover": "ready killed by signal 15 (TERM)",
		"stop--more":     "ready killed by signal 15 (TERM)",
		"stop--trap":     "ready bye exited with code 5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestKilledByItself is a script that must not be green: the first process of a container would not hear its own signals.
func TestKilledByItself(t *testing.T) {
	t.Parallel()
	r := onDocker(t)
	for _, signal := range []string{"SEGV", "TERM", "KILL", "ABRT"} {
		cfg := r.config("kill:\n  it:\n    container: {image: localhost/wharf/busybox:1, cmds: [kill -" + signal + " $$, echo survived]}\n")
		out, lines := r.run(cfg)
		if out.State != worker.Failed || strings.Contains(strings.Join(lines["kill--it"], " "), "survived") {
			t.Errorf("%s: %+v, %q", signal, out, lines)
		}
	}
}
