package timeline

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// events are those of a build of two steps, the second of which waits for the first.
func events() []journal.Event {
	step := func(s int, id string, state journal.State, phases ...journal.Phase) journal.Event {
		return journal.Event{Time: at(s), Kind: journal.KindStep, Stage: "test", Step: id, State: state, Attempt: 1, Phases: phases}
	}
	return []journal.Event{
		{Time: at(0), Kind: journal.KindBuild, State: journal.Running},
		{Time: at(1), Kind: journal.KindStage, Stage: "test", State: journal.Running},
		step(2, "test--a", journal.Starting),
		step(3, "test--a", journal.Running),
		step(9, "test--a", journal.Succeeded, journal.Phase{Name: journal.PhasePull, Began: at(-1), Ended: at(1)}, journal.Phase{Name: journal.PhaseStart, Began: at(2), Ended: at(3)},
			journal.Phase{Name: journal.PhaseRun, Began: at(3), Ended: at(8)}, journal.Phase{Name: journal.PhaseCopy, Began: at(8), Ended: at(9)}),
		step(12, "test--b", journal.Starting),
		step(13, "test--b", journal.Running),
		{Time: at(20), Kind: journal.KindLog, Step: "test--b"},
	}
}

func gather(events []journal.Event) Timeline {
	g := NewGather("b", &pipeline.Plan{Stages: []pipeline.Stage{{Name: "test", Steps: []pipeline.Step{{ID: "test--a", Name: "a"}, {ID: "test--b", Name: "b", Needs: []string{"test--a"}}}}}})
	for _, e := range events {
		g.Add(e)
	}
	return g.Timeline()
}

// What is made ahead begins before the build's stage; a step that needs another waits from its end on; one that runs still ends with what is known.
func TestTimeline(t *testing.T) {
	want := Timeline{Build: "b", State: journal.Running, From: at(-1), To: at(20), Steps: []Step{
		{Stage: "test", Name: "a", State: journal.Succeeded, Attempt: 1, From: at(-1), To: at(9), Spans: []Span{
			{journal.PhasePull, at(-1), at(1)}, {Queue, at(1), at(2)}, {journal.PhaseStart, at(2), at(3)}, {journal.PhaseRun, at(3), at(8)}, {journal.PhaseCopy, at(8), at(9)}}},
		{Stage: "test", Name: "b", State: journal.Running, Attempt: 1, From: at(9), To: at(20), Spans: []Span{
			{Queue, at(9), at(12)}, {journal.PhaseStart, at(12), at(13)}, {journal.PhaseRun, at(13), at(20)}}},
	}}
	got := gather(events())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var b strings.Builder
	if err := got.Terminal(&b, Look{Width: 80}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"build b running, 21.0s\n",
		"  a pppp...ss############ooo                            5.0s, +5.0s\n",
		"  b                         .......sss################# 7.0s running, +4.0s\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &b)
		}
	}
}

// A phase without its times, which a journal of others may have, is left out; an axis of any length has few marks.
func TestTimesThatAreNone(t *testing.T) {
	all := events()
	all[4].Phases[0].Began, all[4].Phases[3].Ended = time.Time{}, time.Time{}
	tl := gather(all)
	if tl.From != at(0) || len(tl.Steps[0].Spans) != 3 {
		t.Errorf("from %v, spans %v", tl.From, tl.Steps[0].Spans)
	}
	for _, tl.From = range []time.Time{{}, at(0), at(19), tl.To} {
		if n := len(tl.page().Ticks); n < 1 || n > 12 {
			t.Errorf("%d marks from %v to %v", n, tl.From, tl.To)
		}
	}
}

// What a journal of others says does not reach the terminal as it is.
func TestTerminalIsSafe(t *testing.T) {
	tl := Timeline{Build: "b\x1b[2J", State: "bad\x1b]0;title\x07", Steps: []Step{{Stage: "\x1b[1A", Name: "\x1b[1A", State: "\x1b[1A"}}}
	var b strings.Builder
	if err := tl.Terminal(&b, Look{Width: 80}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q", b.String())
	}
}

// When a clock is set while a build runs, times go back and forth. Every span then lies on the axis all the same.
func TestClockJumps(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		jump := time.Duration(0)
		now := func(at time.Time) time.Time {
			if r.IntN(4) == 0 {
				jump = time.Duration(r.Int64N(int64(48*time.Hour))) - 24*time.Hour
			}
			return at.Add(jump)
		}
		all := events()
		for i := range all {
			for j := range all[i].Phases {
				p := &all[i].Phases[j]
				p.Began, p.Ended = now(p.Began), now(p.Ended)
			}
			all[i].Time = now(all[i].Time)
		}
		tl := gather(all)
		for _, s := range tl.Steps {
			last := tl.From
			for _, span := range s.Spans {
				if span.From.Before(last) || span.To.Before(span.From) || span.To.After(tl.To) {
					t.Fatalf("seed %d: %v of %s is not on the axis from %v to %v, behind %v", seed, span, s.Name, tl.From, tl.To, last)
				}
				last = span.To
			}
		}
		var page, terminal bytes.Buffer
		if err := tl.HTML(&page); err != nil {
			t.Fatal(err)
		}
		if err := tl.Terminal(&terminal, Look{Width: 80}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(page.String(), `"-`) || strings.Contains(page.String(), "NaN") {
			t.Fatalf("seed %d: the page has a negative measure:\n%s", seed, &page)
		}
	}
}
