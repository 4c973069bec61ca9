package sinktest

import (
	"slices"

	"github.com/wharfci/wharf/aggregator/sink"
)

func states() []Case {
	const (
		sets  = "SetStatus sets the build's state, and Status returns it; Ended stands for a final one that is not told."
		final = "When a final state has been set, none that was set before comes after it; the report sets no other, and returns nil."
	)
	return group("states",
		Case{ID: "scheduling", Contract: sets, Run: scheduling},
		Case{ID: "completed", Contract: sets, Run: func(e *Env) { through(e, sink.Completed) }},
		Case{ID: "failed", Contract: sets, Run: func(e *Env) { through(e, sink.Failed) }},
		Case{ID: "failed-at-once", Contract: sets, Run: failedAtOnce},
		Case{ID: "twice", Contract: sets, Run: twice},
		Case{ID: "final-twice", Contract: final, Run: finalTwice},
		Case{ID: "never-back", Contract: "A build never goes back: to a Status that stands before its own.", Run: neverBack},
		Case{ID: "final-stays", Contract: final, Run: finalStays},
	)
}

// status wants the store to have a state.
func (e *Env) status(id uint64, want sink.Status) {
	if got := e.read(id).Status; got != want {
		e.Errorf("the store has %s; want %s", got, want)
	}
}

// says wants a report to tell a state.
func (e *Env) says(r sink.Report, want sink.Status) {
	got, err := r.Status(e.ctx)
	e.must("Status", err)
	if got != want && (!want.Final() || got != sink.Ended) {
		e.Errorf("Status: %s; want %s", got, want)
	}
}

func scheduling(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.says(r, sink.Scheduling)
	e.status(id, sink.Scheduling)
	e.must("SetStatus", r.SetStatus(e.ctx, sink.Scheduling))
	e.says(r, sink.Scheduling)
	e.status(id, sink.Scheduling)
}

func through(e *Env, end sink.Status) {
	id := e.build()
	r := e.open(id, true)
	for _, s := range []sink.Status{sink.Running, end} {
		e.must("SetStatus", r.SetStatus(e.ctx, s))
		e.says(r, s)
		e.says(e.open(id, false), s)
		e.status(id, s)
	}
	if h, want := e.read(id).History, []sink.Status{sink.Scheduling, sink.Running, end}; h != nil && !slices.Equal(h, want) {
		e.Errorf("the history is %v; want %v", h, want)
	}
}

func failedAtOnce(e *Env) {
	id := e.build()
	r := e.open(id, false)
	e.must("SetStatus", r.SetStatus(e.ctx, sink.Failed))
	e.says(r, sink.Failed)
	e.status(id, sink.Failed)
}

func twice(e *Env) {
	id := e.build()
	r := e.open(id, true)
	for range 3 {
		e.must("SetStatus", r.SetStatus(e.ctx, sink.Running))
	}
	e.says(r, sink.Running)
	e.status(id, sink.Running)
}

func finalTwice(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.must("SetStatus", r.SetStatus(e.ctx, sink.Completed))
	e.must("SetStatus once more", r.SetStatus(e.ctx, sink.Completed))
	e.must("SetStatus by another", e.open(id, false).SetStatus(e.ctx, sink.Completed))
	e.says(r, sink.Completed)
	e.status(id, sink.Completed)
}

func neverBack(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.must("SetStatus(Completed)", r.SetStatus(e.ctx, sink.Completed))
	e.must("SetStatus(Running) after that", r.SetStatus(e.ctx, sink.Running))
	e.status(id, sink.Completed)
	if e.suite.cfg.KeepsFinal {
		e.must("SetStatus(Running) by another", e.open(id, false).SetStatus(e.ctx, sink.Running))
		e.must("SetStatus(Scheduling) by another", e.openAnother(id, false).SetStatus(e.ctx, sink.Scheduling))
		e.status(id, sink.Completed)
	}
}

func finalStays(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.must("SetStatus(Failed)", r.SetStatus(e.ctx, sink.Failed))
	e.must("SetStatus(Completed) after that", r.SetStatus(e.ctx, sink.Completed))
	e.status(id, sink.Failed)
	if e.suite.cfg.KeepsFinal {
		e.must("SetStatus(Completed) by another", e.open(id, false).SetStatus(e.ctx, sink.Completed))
		e.status(id, sink.Failed)
	}
}
