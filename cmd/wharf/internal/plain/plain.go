// Package plain writes a build's events for pipes, files and the logs of other systems: one line per line, each
// with the stage and the step that it belongs to.
package plain

import (
	"fmt"
	"io"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

// maxPartial bounds how much of a line without an end is held back, in bytes.
const maxPartial = 64 << 10

// whole is the label of what concerns the whole build.
const whole = "wharf"

// Printer turns events into lines. Only one goroutine may use it at a time.
type Printer struct {
	w       io.Writer
	opts    text.Options
	steps   map[string]*step
	started map[string]time.Time // of stages, and of the build under ""
	pulled  map[string]bool
	buf     []byte
}

type step struct {
	label   string
	out     bool      // its stage does not run, which is said once, of the stage
	started time.Time // zero unless its main process runs, or ran
	partial map[source][]byte
}

// source is what lines come from, within a step.
type source struct{ container, stream string }

// New returns a Printer of the plan's build. Lines of events that arrive together are written at once. With colour, the
// colours in a step's own output are kept.
func New(w io.Writer, plan *pipeline.Plan, colour bool) *Printer {
	p := &Printer{w: w, opts: text.Options{Colour: colour}, steps: map[string]*step{}, started: map[string]time.Time{}, pulled: map[string]bool{}}
	for _, stage := range plan.Stages {
		for _, s := range stage.Steps {
			label := text.Clean(stage.Name) + "/" + text.Clean(s.Name)
			p.steps[s.ID] = &step{label: label, out: stage.Skip != "", partial: map[source][]byte{}}
		}
	}
	return p
}

// Observe writes the events.
func (p *Printer) Observe(events []worker.Event) {
	p.buf = p.buf[:0]
	for i := range events {
		p.event(&events[i])
		if len(p.buf) > 64<<10 {
			p.flush()
		}
	}
	p.flush()
}

// Close writes what is left of lines without an end.
func (p *Printer) Close() {
	p.buf = p.buf[:0]
	for _, s := range p.steps {
		p.finishLines(s)
	}
	p.flush()
}

func (p *Printer) flush() {
	if len(p.buf) > 0 {
		p.w.Write(p.buf) // the writer is told to remember its own errors
		p.buf = p.buf[:0]
	}
}

func (p *Printer) event(e *worker.Event) {
	switch e.Kind {
	case worker.KindLog:
		p.log(e)
	case worker.KindStep:
		p.stepState(e)
	case worker.KindStage:
		p.state(text.Clean(e.Stage), e, p.elapsed(e.Stage, e))
	case worker.KindBuild:
		p.state(whole, e, p.elapsed("", e))
	case worker.KindStop:
		p.note(whole, text.Line("stopping: "+e.Reason))
	case worker.KindPull:
		if !p.pulled[e.Image] {
			p.pulled[e.Image] = true
			p.note(whole, "pulling "+text.Clean(e.Image))
		}
	case worker.KindWarning:
		p.note(p.label(e), "warning: "+text.Line(e.Reason))
	case worker.KindTests:
		p.note(p.label(e), text.Line(e.Name+": "+e.Tests.String()))
	case worker.KindArtifact:
		p.note(p.label(e), fmt.Sprintf("kept %s (%s)", text.Clean(e.Name), text.Bytes(e.Size)))
	}
}

func (p *Printer) label(e *worker.Event) string {
	if e.Step == "" {
		return whole
	}
	return p.step(e).label
}

// step returns what is known of the event's step, also of one that the plan does not have.
func (p *Printer) step(e *worker.Event) *step {
	s := p.steps[e.Step]
	if s == nil {
		s = &step{label: text.Clean(e.Step), partial: map[source][]byte{}}
		p.steps[e.Step] = s
	}
	return s
}

func (p *Printer) log(e *worker.Event) {
	s := p.step(e)
	if len(s.partial) == 0 && !e.Partial { // nearly always
		p.line(s.label, e.Container, e.Line)
		return
	}
	from := source{e.Container, e.Stream}
	line := append(s.partial[from], e.Line...)
	if e.Partial && len(line) < maxPartial {
		s.partial[from] = line
		return
	}
	delete(s.partial, from)
	p.line(s.label, e.Container, line)
}

func (p *Printer) line(label, container string, line []byte) {
	p.buf = append(p.buf, label...)
	if container != "" {
		p.buf = text.Append(append(p.buf, ':'), []byte(container), text.Options{TabStop: 8})
	}
	p.buf = append(p.buf, " | "...)
	p.buf = append(text.Append(p.buf, line, p.opts), '\n')
}

func (p *Printer) note(label, words string) {
	p.buf = append(p.buf, label+" | -- "+words+"\n"...)
}

func (p *Printer) stepState(e *worker.Event) {
	s := p.step(e)
	if e.State == worker.Waiting || e.State == worker.Skipped && s.out {
		return
	}
	took := time.Duration(-1)
	switch {
	case e.State == worker.Running:
		s.started = e.Time
	case e.State.Final():
		p.finishLines(s)
		if !s.started.IsZero() {
			took = e.Time.Sub(s.started)
		}
		s.started = time.Time{}
	}
	p.state(s.label, e, took)
}

func (p *Printer) finishLines(s *step) {
	for from, line := range s.partial {
		p.line(s.label, from.container, line)
	}
	clear(s.partial)
}

// elapsed returns the time since the start of what key stands for, once it has ended, or -1.
func (p *Printer) elapsed(key string, e *worker.Event) time.Duration {
	start, ok := p.started[key]
	if !ok {
		p.started[key] = e.Time
		return -1
	}
	if !e.State.Final() {
		return -1
	}
	return e.Time.Sub(start)
}

func (p *Printer) state(label string, e *worker.Event, took time.Duration) {
	words := string(e.State)
	if e.Attempt > 1 {
		words += fmt.Sprintf(" (attempt %d)", e.Attempt)
	}
	if took >= 0 {
		words += " after " + text.Duration(took)
	}
	if reason := why(e); reason != "" {
		words += ": " + reason
	}
	p.note(label, words)
}

// why returns the reason of a state for a person, on one line, or nothing.
func why(e *worker.Event) string {
	reason := e.Reason
	if reason == "" && e.Result != nil && !e.Result.Succeeded() {
		reason = e.Result.String()
	}
	return text.Line(reason)
}
