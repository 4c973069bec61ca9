// Package tty shows a build on a terminal: a tree of its stages and steps that is redrawn while they run, and at the
// end a summary that stays.
//
// What is shown is a pure function: [Model] takes events, View and Summary return lines. [Screen] brings lines to
// the terminal without flicker, and [Display] ties both together.
package tty

import (
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

const (
	tailLines = 20      // kept of each step's log
	tailBytes = 4 << 10 // kept of each line; more never fits on a screen
)

// Model is what is known of a build. It is not safe for concurrent use.
type Model struct {
	title  string
	stages []*stage
	steps  map[string]*step
	pulls  map[string]pull
	notice string

	warnings []string
	tests    []string // summaries of test results
	state    worker.State
	reason   string
	started  time.Time
	ended    time.Time
}

type stage struct {
	name    string
	state   worker.State
	reason  string
	steps   []*step
	started time.Time
	ended   time.Time
}

type step struct {
	id, name string
	images   []string
	state    worker.State
	reason   string
	attempt  int
	prepared time.Time // when the engine took it up
	started  time.Time // when its main process did
	ended    time.Time
	tail     tail
}

type pull struct {
	done, total int64
	status      string
}

// NewModel returns the model of a plan's build that has not begun. The title says what is built where.
func NewModel(plan *pipeline.Plan, title string) *Model {
	m := &Model{title: text.Line(title), steps: map[string]*step{}, pulls: map[string]pull{}, state: worker.Waiting}
	for i := range plan.Stages {
		ps := &plan.Stages[i]
		st := &stage{name: text.Line(ps.Name), state: worker.Waiting}
		if ps.Skip != "" {
			st.state, st.reason = worker.Skipped, text.Line(ps.Skip)
		}
		for j := range ps.Steps {
			s := &step{id: ps.Steps[j].ID, name: text.Line(ps.Steps[j].Name), images: images(&ps.Steps[j]), state: st.state}
			st.steps, m.steps[s.id] = append(st.steps, s), s
		}
		m.stages = append(m.stages, st)
	}
	return m
}

func images(s *pipeline.Step) []string {
	var names []string
	if s.Container != nil {
		names = append(names, s.Container.Image)
	}
	for i := range s.Services {
		names = append(names, s.Services[i].Image)
	}
	return names
}

// Notice sets a line that is shown until the end, such as what an interrupt did.
func (m *Model) Notice(words string) { m.notice = text.Line(words) }

// Apply takes events in.
func (m *Model) Apply(events []worker.Event) {
	for i := range events {
		switch e := &events[i]; e.Kind {
		case worker.KindLog:
			if s := m.steps[e.Step]; s != nil {
				s.tail.add(e)
			}
		case worker.KindStep:
			if s := m.steps[e.Step]; s != nil {
				s.apply(e)
			}
		case worker.KindStage:
			m.applyStage(e)
		case worker.KindBuild:
			m.state, m.reason = e.State, text.Line(e.Reason)
			setTimes(e.State, e.Time, &m.started, &m.ended)
		case worker.KindPull:
			m.pulls[e.Image] = pull{e.Done, e.Total, text.Line(e.Status)}
		case worker.KindWarning:
			m.warnings = append(m.warnings, m.about(e, e.Reason))
		case worker.KindTests:
			m.tests = append(m.tests, m.about(e, e.Name+": "+e.Tests.String()))
		}
	}
}

func (m *Model) applyStage(e *worker.Event) {
	for _, st := range m.stages {
		if name := text.Line(e.Stage); st.name == name {
			st.state, st.reason = e.State, text.Line(e.Reason)
			setTimes(e.State, e.Time, &st.started, &st.ended)
		}
	}
}

// about says to which step words belong.
func (m *Model) about(e *worker.Event, words string) string {
	words = text.Line(words)
	if s := m.steps[e.Step]; s != nil {
		words = s.name + ": " + words
	}
	return words
}

func (s *step) apply(e *worker.Event) {
	if e.Attempt > s.attempt {
		s.prepared, s.started, s.ended = time.Time{}, time.Time{}, time.Time{}
	}
	s.state, s.attempt = e.State, max(e.Attempt, s.attempt)
	if e.State != worker.Waiting && s.prepared.IsZero() {
		s.prepared = e.Time
	}
	if e.State == worker.Running && s.started.IsZero() {
		s.started = e.Time
	}
	if e.State.Final() {
		s.ended = e.Time
	}
	reason := e.Reason
	if reason == "" && e.Result != nil && !e.Result.Succeeded() {
		reason = e.Result.String()
	}
	s.reason = text.Line(reason)
}

func setTimes(state worker.State, at time.Time, started, ended *time.Time) {
	if started.IsZero() {
		*started = at
	}
	if state.Final() {
		*ended = at
	}
}

// elapsed is how long the step runs, or ran; before its process runs, how long it is being prepared.
func (s *step) elapsed(now time.Time) time.Duration {
	from := s.started
	if from.IsZero() {
		from = s.prepared
	}
	return span(from, s.ended, now)
}

func span(from, to, now time.Time) time.Duration {
	if from.IsZero() {
		return 0
	}
	if to.IsZero() {
		to = now
	}
	return max(0, to.Sub(from))
}

// active reports whether the stage is the one, or one of those, at work.
func (st *stage) active() bool { return st.state != worker.Waiting && !st.state.Final() }

// pull returns the progress of the images that the step waits for, and whether there is any.
func (m *Model) pull(s *step) (p pull, image string, ok bool) {
	for _, name := range s.images {
		if q, found := m.pulls[name]; found && (q.total == 0 || q.done < q.total) {
			return q, name, true
		}
	}
	return pull{}, "", false
}

// count returns how many steps there are, and how many of them have ended.
func (m *Model) count() (ended, all int) {
	for _, s := range m.steps {
		all++
		if s.state.Final() {
			ended++
		}
	}
	return ended, all
}
