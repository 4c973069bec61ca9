// Package timeline shows where a build's time went: for each step its queue, pull, create, start, run and copy, on one axis, on a terminal or as a page that
// needs nothing else.
package timeline

import (
	"cmp"
	"slices"
	"time"

	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
)

// Queue is the time in which a step could have run and had no room: the journal does not have it as a phase.
const Queue = "queue"

// Phases are the names of the parts of a step's time, in the order in which they come.
var Phases = []string{Queue, journal.PhasePull, journal.PhaseCreate, journal.PhaseStart, journal.PhaseRun, journal.PhaseCopy}

// Timeline is a build's.
type Timeline struct {
	Build  string
	State  journal.State
	Reason string
	// From and To are the ends of the axis.
	From, To time.Time
	Steps    []Step
}

// Step is a row.
type Step struct {
	// Stage and Name are what a person calls it.
	Stage, Name string
	State       journal.State
	Reason      string
	Attempt     int
	Spans       []Span
	// From and To are the ends of what is known of the step; both are zero if it did not run.
	From, To time.Time
}

// Span is a part of a row.
type Span struct {
	Phase    string
	From, To time.Time
}

// Gather collects what a journal tells. Add is called with every event in order.
type Gather struct {
	t      Timeline
	names  map[string]string
	steps  map[string]*row
	order  []*row
	stages map[string]time.Time // when each began
	ends   map[string]time.Time // when each step ended, for those that need it
	needs  map[string][]string
}

type row struct {
	Step
	id      string
	running time.Time
	phases  []journal.Phase
}

// NewGather returns a Gather for a build. The plan says what steps are called; it may be empty.
func NewGather(build string, plan *pipeline.Plan) *Gather {
	g := &Gather{t: Timeline{Build: build, State: journal.Running}, names: map[string]string{}, steps: map[string]*row{}, stages: map[string]time.Time{}, ends: map[string]time.Time{}, needs: map[string][]string{}}
	for _, stage := range plan.Stages {
		for _, s := range stage.Steps {
			g.names[s.ID], g.needs[s.ID] = s.Name, s.Needs
		}
	}
	return g
}

// Add takes the next event.
func (g *Gather) Add(e journal.Event) {
	if g.t.From.IsZero() {
		g.t.From = e.Time
	}
	if e.Kind != journal.KindPull && e.Time.After(g.t.To) {
		g.t.To = e.Time
	}
	switch e.Kind {
	case journal.KindBuild:
		g.t.State, g.t.Reason = e.State, e.Reason
	case journal.KindStage:
		if e.State == journal.Running {
			g.stages[e.Stage] = e.Time
		}
	case journal.KindStep:
		g.step(e)
	}
}

func (g *Gather) step(e journal.Event) {
	r := g.steps[e.Step]
	if r == nil {
		r = &row{id: e.Step, Step: Step{Stage: e.Stage, Name: cmp.Or(g.names[e.Step], e.Step)}}
		g.steps[e.Step] = r
		g.order = append(g.order, r)
	}
	if e.Attempt > r.Attempt && r.Attempt > 0 { // the last attempt is shown
		r.From, r.running = time.Time{}, time.Time{}
	}
	r.State, r.Reason, r.Attempt = e.State, e.Reason, e.Attempt
	switch {
	case e.State.Final():
		r.To, r.phases, g.ends[e.Step] = e.Time, timed(e.Phases), e.Time
	case e.State == journal.Starting:
		r.From = e.Time
	case e.State == journal.Running:
		r.running = e.Time
	}
}

// timed are the phases of which both ends are known.
func timed(phases []journal.Phase) []journal.Phase {
	return slices.DeleteFunc(slices.Clone(phases), func(p journal.Phase) bool { return p.Began.IsZero() || p.Ended.IsZero() })
}

// Timeline returns what was gathered. Steps that never ran come without spans.
func (g *Gather) Timeline() Timeline {
	t := g.t
	for _, r := range g.order {
		s := r.Step
		if s.State != journal.Skipped {
			s.Spans = g.spans(r)
		}
		if len(s.Spans) > 0 {
			s.From, s.To = s.Spans[0].From, s.Spans[len(s.Spans)-1].To
			t.From = earlier(t.From, s.From)
			t.To = later(t.To, s.To)
		}
		t.Steps = append(t.Steps, s)
	}
	if t.To.Before(t.From) {
		t.To = t.From
	}
	return t
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// spans are the parts of a step's time, in order, that do not overlap.
func (g *Gather) spans(r *row) []Span {
	var spans []Span
	for _, p := range r.phases {
		spans = append(spans, Span{p.Name, p.Began, p.Ended})
	}
	if len(r.phases) == 0 && !r.From.IsZero() { // it runs still, or the record of its end is gone
		end := cmp.Or(r.To, g.t.To)
		if r.running.IsZero() {
			spans = append(spans, Span{journal.PhaseStart, r.From, end})
		} else {
			spans = append(spans, Span{journal.PhaseStart, r.From, r.running}, Span{journal.PhaseRun, r.running, end})
		}
	}
	if from, ok := g.ready(r); ok && !r.From.IsZero() && r.From.After(from) {
		spans = append(spans, Span{Queue, from, r.From})
	}
	slices.SortStableFunc(spans, func(a, b Span) int { return a.From.Compare(b.From) })
	return apart(spans)
}

// ready is when the step could have run: its stage had begun, and what it needs had ended.
func (g *Gather) ready(r *row) (time.Time, bool) {
	from, ok := g.stages[r.Stage]
	for _, id := range g.needs[r.id] {
		if end := g.ends[id]; end.After(from) {
			from = end
		}
	}
	return from, ok
}

// apart cuts spans so that none overlaps the one before: what is made ahead while a step waits for room counts as waiting no longer, and the runtime's clock may differ from
// ours by a little.
func apart(spans []Span) []Span {
	var out []Span
	for _, s := range spans {
		if s.Phase == Queue {
			continue
		}
		if n := len(out); n > 0 && s.From.Before(out[n-1].To) {
			s.From = out[n-1].To
		}
		if s.To.After(s.From) {
			out = append(out, s)
		}
	}
	for _, q := range spans {
		if q.Phase == Queue {
			out = fill(out, q)
		}
	}
	return out
}

// fill puts a span where none of the others is.
func fill(others []Span, q Span) []Span {
	out := slices.Clone(others)
	from := q.From
	for _, s := range others {
		if s.From.After(from) && from.Before(q.To) {
			out = append(out, Span{q.Phase, from, earlier(s.From, q.To)})
		}
		if s.To.After(from) {
			from = s.To
		}
	}
	if from.Before(q.To) {
		out = append(out, Span{q.Phase, from, q.To})
	}
	slices.SortStableFunc(out, func(a, b Span) int { return a.From.Compare(b.From) })
	return out
}

// Sum is how much of the step's time a phase has.
func (s Step) Sum(phase string) time.Duration {
	var d time.Duration
	for _, span := range s.Spans {
		if span.Phase == phase {
			d += span.To.Sub(span.From)
		}
	}
	return d
}
