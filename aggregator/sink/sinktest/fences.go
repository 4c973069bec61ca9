package sinktest

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

func fences() []Case {
	const rule = "No method writes after the end of the turn."
	return group("fences",
		Case{ID: "over-lines", Contract: rule, Run: overLines},
		Case{ID: "over-status", Contract: rule, Run: overStatus},
		Case{ID: "over-artifact", Contract: rule, Run: overArtifact},
		Case{ID: "over-before-commit", Contract: rule, Run: overBeforeCommit},
		Case{ID: "over-after-use", Contract: rule, Run: overAfterUse},
		Case{ID: "over-within-artifact", Contract: rule, Run: overWithinArtifact},
		Case{ID: "past", Contract: "Fence is the time until which who has a build may write, by the clock of this process.", Run: past},
		Case{ID: "renewed", Contract: "Fence is asked just before each write.", Run: renewed},
	)
}

func overLines(e *Env) {
	id := e.build()
	over := newTurn()
	over.end()
	r := e.openTurn(id, sink.Turn{Fence: over.fence, Clean: true})
	e.fails("Append and Commit", e.try(r, 0, some(0, 3)))
	e.stores(id, nil)
}

// try appends and commits.
func (e *Env) try(r sink.Report, at int, all []sink.Line) error {
	if err := r.Append(e.ctx, uint64(at), all); err != nil {
		return err
	}
	return r.Commit(e.ctx)
}

func overStatus(e *Env) {
	id := e.build()
	over := newTurn()
	over.end()
	r := e.openTurn(id, sink.Turn{Fence: over.fence, Clean: true})
	e.fails("SetStatus(Running)", r.SetStatus(e.ctx, sink.Running))
	e.fails("SetStatus(Failed)", r.SetStatus(e.ctx, sink.Failed))
	e.status(id, sink.Scheduling)
}

func overArtifact(e *Env) {
	id := e.build()
	over := newTurn()
	over.end()
	r := e.openTurn(id, sink.Turn{Fence: over.fence, Clean: true})
	e.fails("PutArtifact", r.PutArtifact(e.ctx, file("a.txt", []byte("text"))))
	e.files(id)
}

func overBeforeCommit(e *Env) {
	id := e.build()
	turn := newTurn()
	r := e.openTurn(id, sink.Turn{Fence: turn.fence, Clean: true})
	e.counts(r, 0)
	all := some(0, 20)
	e.must("Append", r.Append(e.ctx, 0, all[:10]))
	turn.end()
	e.fails("Commit", r.Commit(e.ctx))
	_ = r.Close()
	next := e.open(id, false)
	n := e.lines(next)
	if n > 10 {
		e.Fatalf("Lines: %d; want 10 at most", n)
	}
	e.append(next, n, all[n:])
	e.stores(id, all)
}

// overAfterUse ends a turn whose connections are open.
func overAfterUse(e *Env) {
	id := e.build()
	turn := newTurn()
	r := e.openTurn(id, sink.Turn{Fence: turn.fence, Clean: true})
	e.append(r, 0, some(0, 3))
	e.must("SetStatus", r.SetStatus(e.ctx, sink.Running))
	e.must("PutArtifact", r.PutArtifact(e.ctx, file("a", []byte("a"))))
	turn.end()
	e.fails("Append and Commit", e.try(r, 3, some(3, 3)))
	e.fails("SetStatus", r.SetStatus(e.ctx, sink.Completed))
	e.fails("PutArtifact", r.PutArtifact(e.ctx, file("b", []byte("b"))))
	e.stores(id, some(0, 3))
	e.status(id, sink.Running)
	e.files(id, File{"a", []byte("a")})
}

func overWithinArtifact(e *Env) {
	id := e.build()
	turn := newTurn()
	r := e.openTurn(id, sink.Turn{Fence: turn.fence, Clean: true})
	content := pattern(1 << 20)
	a := file("a", content)
	a.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:len(content)/2]), act(turn.end), bytes.NewReader(content[len(content)/2:]))), nil
	}
	e.fails("PutArtifact, whose turn ends meanwhile,", r.PutArtifact(e.ctx, a))
	e.files(id)
	e.must("PutArtifact by the next", e.open(id, false).PutArtifact(e.ctx, file("a", content)))
	e.files(id, File{"a", content})
}

// act is a reader that does something, and has nothing.
type act func()

func (a act) Read([]byte) (int, error) {
	a()
	return 0, io.EOF
}

func past(e *Env) {
	id := e.build()
	r := e.openTurn(id, sink.Turn{Fence: func() time.Time { return time.Now().Add(-time.Millisecond) }, Clean: true})
	e.fails("Append and Commit", e.try(r, 0, some(0, 3)))
	e.fails("SetStatus", r.SetStatus(e.ctx, sink.Running))
	e.fails("PutArtifact", r.PutArtifact(e.ctx, file("a", nil)))
	e.stores(id, nil)
	e.status(id, sink.Scheduling)
	e.files(id)
}

// renewed writes when the time is over that the fence told first.
func renewed(e *Env) {
	const each = time.Second
	id := e.build()
	first := time.Now()
	r := e.openTurn(id, sink.Turn{Fence: func() time.Time { return time.Now().Add(each) }, Clean: true})
	e.append(r, 0, some(0, 3))
	e.must("SetStatus", r.SetStatus(e.ctx, sink.Running))
	t := time.NewTimer(time.Until(first.Add(each + each/2)))
	defer t.Stop()
	<-t.C
	e.append(r, 3, some(3, 3))
	e.must("SetStatus", r.SetStatus(e.ctx, sink.Completed))
	e.stores(id, some(0, 6))
	e.status(id, sink.Completed)
}
