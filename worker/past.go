package worker

import (
	"slices"
	"strings"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
)

// past is what an earlier process has recorded of the build. That of a new build is empty.
type past struct {
	resumed bool
	began   time.Time // of the build
	stop    *verdict  // why it was being stopped
	outcome *Outcome  // if it has ended
	stages  map[string]*pastStage
	steps   map[string]*pastStep
	filled  bool // the workspace: a step has been started
}

// pastStage is a stage that has begun.
type pastStage struct {
	ended  bool
	state  State
	reason string
	// ends are the steps that have ended, in this order.
	ends []Event
}

// pastStep is what is known of the last attempt of a step.
type pastStep struct {
	attempt int
	ended   bool
	begun   bool // the runtime was asked to start it,
	since   time.Time
	running bool // and it was told that it runs
	// logged are the entries of the attempt behind cursor, and all are all of them.
	logged, all map[source]int
	cursor      driver.Cursor
	artifacts   map[string]Event
	warned      map[string]bool
	counted     map[string]bool // files of test results
}

// source is one stream of one container, by its name in the journal.
type source struct{ container, stream string }

// readPast reads what a journal tells.
func readPast(dir string) (*past, error) {
	p := &past{resumed: true, stages: map[string]*pastStage{}, steps: map[string]*pastStep{}}
	r, err := journal.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	r.WithoutText()
	return p, r.All(p.add)
}

func (p *past) step(id string) *pastStep {
	s := p.steps[id]
	if s == nil {
		s = newPastStep(1)
		p.steps[id] = s
	}
	return s
}

func newPastStep(attempt int) *pastStep {
	return &pastStep{attempt: attempt, logged: map[source]int{}, all: map[source]int{}, artifacts: map[string]Event{}, warned: map[string]bool{}, counted: map[string]bool{}}
}

func (p *past) stage(name string) *pastStage {
	s := p.stages[name]
	if s == nil {
		s = &pastStage{}
		p.stages[name] = s
	}
	return s
}

func (p *past) add(b *journal.Batch) {
	e := b.Event
	switch e.Kind {
	case KindBuild:
		if p.began.IsZero() {
			p.began = e.Time
		}
		if e.State.Final() {
			p.outcome = &Outcome{e.State, e.Reason}
		}
	case KindStop:
		p.stop = &verdict{e.State, e.Reason}
	case KindStage:
		s := p.stage(e.Stage)
		s.state, s.reason, s.ended = e.State, e.Reason, e.State.Final()
	case KindStep:
		p.step(e.Step).told(e)
		if e.State.Final() {
			stage := p.stage(e.Stage)
			stage.ends = append(stage.ends, e)
		}
		p.filled = p.filled || p.step(e.Step).begun
	case KindLog:
		p.step(e.Step).printed(b)
	case KindArtifact:
		p.step(e.Step).artifacts[e.Name] = e
	case KindTests:
		p.step(e.Step).counted[e.Name] = true
	case KindWarning:
		if e.Step == "" {
			return
		}
		if s := p.step(e.Step); e.Attempt > 0 { // it has ended, and is to be tried again
			p.steps[e.Step] = newPastStep(e.Attempt + 1)
			p.steps[e.Step].artifacts = s.artifacts
		} else {
			s.warned[e.Reason] = true
		}
	}
}

// unfinished reports whether a step of the stage was being started, and has not ended.
func (p *past) unfinished(stage *pipeline.Stage) bool {
	return slices.ContainsFunc(stage.Steps, func(s pipeline.Step) bool {
		past := p.steps[s.ID]
		return past != nil && past.begun && !past.ended
	})
}

// begun reports whether an attempt of a step was being started.
func (p *past) begun(step string, attempt int) bool {
	s := p.steps[step]
	return s != nil && s.begun && s.attempt == attempt
}

// next is the attempt of a step with which to go on.
func (p *past) next(step string) int {
	if s := p.steps[step]; s != nil {
		return s.attempt
	}
	return 1
}

// told takes a state of the step.
func (s *pastStep) told(e Event) {
	switch {
	case e.State.Final():
		s.ended = true
	case e.State == Starting:
		s.begun, s.since = true, e.Time
	case e.State == Running:
		s.running = true
	}
}

// printed counts log lines.
func (s *pastStep) printed(b *journal.Batch) {
	if max(1, b.Event.Attempt) != s.attempt {
		return // the last lines of an attempt that was given up
	}
	for _, run := range b.Runs {
		s.all[source{run.Container, run.Stream}] += run.Lines
	}
	if b.Cursor != "" {
		s.cursor = driver.Cursor(b.Cursor)
		clear(s.logged)
		return
	}
	for _, run := range b.Runs {
		if run.Stream != journal.StreamWharf {
			s.logged[source{run.Container, run.Stream}] += run.Lines
		}
	}
}

// failures is how many steps of the stage have failed or errored.
func (s *pastStage) failures() int {
	n := 0
	for _, e := range s.ends {
		if e.State == Failed || e.State == Errored {
			n++
		}
	}
	return n
}

// cause is the stage's reason without the count of others.
func (s *pastStage) cause() string { return strings.TrimSuffix(s.reason, others(s.failures())) }

// left is what remains of a time-out since a time. The clock may have been set meanwhile: it is never more than the whole, and never so little that what
// has ended in time could not be noticed.
func left(timeout time.Duration, since time.Time) time.Duration {
	if since.IsZero() {
		return timeout
	}
	return min(timeout, max(timeout-time.Since(since), noticeBound))
}

// noticeBound is how long at least a build that goes on waits for what may have ended meanwhile.
const noticeBound = 5 * time.Second
