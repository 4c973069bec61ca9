package worker

import (
	"fmt"
	"slices"

	"github.com/wharfci/wharf/pipeline"
)

// stages runs the stages in order.
func (e *engine) stages() Outcome {
	out := Outcome{State: Succeeded}
	failures := 0
	for i := range e.cfg.Plan.Stages {
		stage := &e.cfg.Plan.Stages[i]
		if past := e.past.stages[stage.Name]; past != nil && past.ended {
			failures += past.failures()
			out = out.with(past.state, past.cause())
			continue
		}
		if why := e.skip(stage, out.State); why != "" && !e.past.unfinished(stage) {
			e.made.discard(func(p *prep) bool { return p.stage == i })
			e.skipStage(stage, why)
			continue
		}
		state, reason, failed := e.stage(i, out.State)
		failures += failed
		out = out.with(state, reason)
	}
	if v := e.stopped(); v != nil {
		return Outcome{v.state, v.reason}
	}
	out.Reason += others(failures)
	return out
}

// with is the outcome after a stage that has ended.
func (o Outcome) with(state State, reason string) Outcome {
	if state != Succeeded && state != Skipped && (o.State == Succeeded || o.State == Errored && state == Failed) {
		return Outcome{state, reason}
	}
	return o
}

// others says how many steps have failed besides the one that a reason names.
func others(failures int) string {
	if failures < 2 {
		return ""
	}
	return fmt.Sprintf(", and %d more", failures-1)
}

// skip says why a stage does not run, or nothing.
func (e *engine) skip(stage *pipeline.Stage, before State) string {
	switch {
	case stage.Skip != "":
		return stage.Skip
	case e.stopped() != nil:
		return "the build was stopped"
	case stage.RunIf == pipeline.RunIfFail && before == Succeeded:
		return "no earlier stage failed"
	case stage.RunIf == pipeline.RunIfSuccess && before != Succeeded:
		return "an earlier stage failed"
	}
	return ""
}

func (e *engine) skipStage(stage *pipeline.Stage, why string) {
	for i := range stage.Steps {
		if s := e.past.steps[stage.Steps[i].ID]; s == nil || !s.ended {
			e.j.Append(Event{Kind: KindStep, Stage: stage.Name, Step: stage.Steps[i].ID, State: Skipped, Reason: why})
		}
	}
	e.j.Append(Event{Kind: KindStage, Stage: stage.Name, State: Skipped, Reason: why})
}

// stageRun is a stage that runs. One goroutine uses it.
type stageRun struct {
	e      *engine
	index  int
	stage  *pipeline.Stage
	before State
	// open are the steps not yet begun, in the plan's order; a step whose task is made ahead is one of them.
	open    []*pipeline.Step
	running int
	state   State            // as far as the steps that have ended go
	failed  int              // how many of those that have ended failed or errored
	states  map[string]State // of the steps that have ended
	ended   chan ended
	reason  string
}

// ended tells that a step has.
type ended struct {
	step   *pipeline.Step
	state  State
	reason string
}

// stage runs one stage to its end, and tells also how many of its steps have failed.
func (e *engine) stage(index int, before State) (state State, reason string, failed int) {
	stage := &e.cfg.Plan.Stages[index]
	r := &stageRun{e: e, index: index, stage: stage, before: before, state: Succeeded, states: map[string]State{}, ended: make(chan ended)}
	for i := range stage.Steps {
		r.open = append(r.open, &stage.Steps[i])
	}
	if past := e.past.stages[stage.Name]; past != nil {
		r.goOn(past)
	} else {
		e.j.Append(Event{Kind: KindStage, Stage: stage.Name, State: Running})
	}
	for {
		r.begin()
		if r.running == 0 {
			break
		}
		r.ahead()
		r.take(<-r.ended)
		r.running--
	}
	state = r.close(r.state)
	e.made.discard(func(p *prep) bool { return p.stage <= index })
	e.j.Append(Event{Kind: KindStage, Stage: stage.Name, State: state, Reason: r.reason + others(r.failed)})
	return state, r.reason, r.failed
}

// goOn takes what an earlier process has seen of the stage.
func (r *stageRun) goOn(past *pastStage) {
	for _, e := range past.ends {
		i := slices.IndexFunc(r.open, func(s *pipeline.Step) bool { return s.ID == e.Step })
		if i < 0 {
			continue
		}
		s := r.open[i]
		r.open = slices.Delete(r.open, i, i+1)
		if e.State == Skipped { // which has no bearing on the stage
			r.states[s.ID] = Skipped
		} else {
			r.take(ended{s, e.State, e.Reason})
		}
	}
}

// take notes how a step has ended.
func (r *stageRun) take(end ended) {
	r.states[end.step.ID] = end.state
	if end.state == Failed || end.state == Errored {
		r.failed++
	}
	if worse := worst(r.state, end.state); worse != r.state {
		r.state, r.reason = worse, fmt.Sprintf("%s: %s", label(r.stage, end.step), end.reason)
	}
}

// close sees to it that a stage with a step that did not run has not succeeded.
func (r *stageRun) close(state State) State {
	for _, s := range r.open { // a plan that the parser would have refused
		reason := "it needs a step that is not in its stage, or that needs it in turn"
		r.e.j.Append(Event{Kind: KindStep, Stage: r.stage.Name, Step: s.ID, State: Errored, Reason: reason})
		state, r.reason = worst(state, Errored), fmt.Sprintf("%s: %s", label(r.stage, s), reason)
	}
	v := r.e.stopped()
	if v == nil || state != Succeeded {
		return state
	}
	for _, s := range r.states {
		if s == Skipped {
			r.reason = v.reason
			return v.state
		}
	}
	return state
}

// worst returns what decides of two states.
func worst(a, b State) State {
	order := []State{Skipped, Succeeded, Errored, Failed, Cancelled}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// begin starts the steps that may run now, as many as there is room for, and skips those that cannot run any more.
func (r *stageRun) begin() {
	r.resume()
	for again := true; again; {
		again = false
		for i, s := range r.open {
			why, ready := r.ready(s)
			if why != "" {
				r.open = slices.Delete(r.open, i, i+1)
				r.states[s.ID] = Skipped
				r.e.j.Append(Event{Kind: KindStep, Stage: r.stage.Name, Step: s.ID, State: Skipped, Reason: why})
				again = true
				break
			}
			if ready && r.running < r.e.cfg.Parallel {
				r.open = slices.Delete(r.open, i, i+1)
				r.run(s)
				again = true
				break
			}
		}
	}
}

// resume takes up the steps that run already.
func (r *stageRun) resume() {
	r.open = slices.DeleteFunc(r.open, func(s *pipeline.Step) bool {
		if !r.e.past.begun(s.ID, r.e.past.next(s.ID)) {
			return false
		}
		r.run(s)
		return true
	})
}

// run runs a step.
func (r *stageRun) run(s *pipeline.Step) {
	r.running++
	p := r.e.made.take(r.e, r.index, s)
	go func() {
		state, reason := r.e.step(r.stage, s, p)
		r.ended <- ended{s, state, reason}
	}()
}

// ready reports whether a step may start, or why it never will.
func (r *stageRun) ready(s *pipeline.Step) (why string, ready bool) {
	if r.e.stopped() != nil {
		return "the build was stopped", false
	}
	for _, id := range s.Needs {
		switch state := r.states[id]; state {
		case Succeeded:
		case "":
			return "", false
		default:
			return fmt.Sprintf("it needs %s, which %s", r.name(id), became(state)), false
		}
	}
	return "", true
}

// name returns what a person calls a step of the stage.
func (r *stageRun) name(id string) string {
	for i := range r.stage.Steps {
		if s := &r.stage.Steps[i]; s.ID == id {
			return s.Name
		}
	}
	return id
}

// became is a final state as the end of a sentence.
func became(s State) string {
	if s == Cancelled || s == Skipped {
		return "was " + string(s)
	}
	return string(s)
}

// ahead lets tasks be made for the steps that come next, in this stage and in the one that follows if all goes well.
func (r *stageRun) ahead() {
	e := r.e
	if e.stopped() != nil {
		return
	}
	room := e.cfg.Parallel
	next := func(index int, steps []*pipeline.Step) {
		for _, s := range steps {
			if room == 0 {
				return
			}
			room--
			e.made.ahead(e, index, s)
		}
	}
	next(r.index, r.open)
	if r.spoilt() {
		return
	}
	for i := r.index + 1; i < len(e.cfg.Plan.Stages); i++ {
		stage := &e.cfg.Plan.Stages[i]
		if e.skip(stage, r.before) != "" {
			continue
		}
		var steps []*pipeline.Step
		for j := range stage.Steps {
			if s := &stage.Steps[j]; len(s.Needs) == 0 {
				steps = append(steps, s)
			}
		}
		next(i, steps)
		e.pulls.stage(stage)
		return
	}
}

// spoilt reports whether a step of the stage has not succeeded, so that what comes next is not what would come otherwise.
func (r *stageRun) spoilt() bool {
	for _, s := range r.states {
		if s != Succeeded {
			return true
		}
	}
	return false
}
