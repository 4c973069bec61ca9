package sinktest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
)

func sinks() []Case {
	const ends = "A call ends when its context does, which leaves open what became of what it wrote."
	return group("sink",
		Case{ID: "unknown-build", Contract: "A build that the sink does not know is NotFound.", Run: unknownBuild},
		Case{ID: "active", Contract: "Active returns the builds that have not ended, in any order.", Run: active},
		Case{ID: "two-builds", Contract: "Its methods may be called by many goroutines at once.", Run: twoBuilds},
		Case{ID: "open-asks-nothing", Contract: "Open does not ask the sink for anything.", Run: openAsksNothing},
		Case{ID: "cancelled", Contract: ends, Run: cancelled},
		Case{ID: "stalled", Contract: ends, Alone: true, Run: stalled},
		Case{ID: "ready", Contract: "Ready returns nil if the sink answers and lets us write.", Run: ready},
		Case{ID: "close", Contract: "Close ends all connections. What was stored stays.", Run: closeAndGoOn},
	)
}

func unknownBuild(e *Env) {
	id := e.unknown()
	r := e.open(id, true)
	if e.suite.cfg.MakesBuilds {
		e.counts(r, 0)
		e.append(r, 0, some(0, 2))
		e.stores(id, some(0, 2))
		id = e.unknown()
		e.must("SetStatus", e.open(id, true).SetStatus(e.ctx, sink.Running))
		e.status(id, sink.Running)
		id = e.unknown()
		e.must("PutArtifact", e.open(id, true).PutArtifact(e.ctx, file("a", []byte("a"))))
		e.files(id, File{"a", []byte("a")})
		return
	}
	if err := r.SetStatus(e.ctx, sink.Running); !errdefs.IsNotFound(err) {
		e.Errorf("SetStatus: %v; want NotFound", err)
	}
	e.fails("Append and Commit", e.try(r, 0, some(0, 2)))
	e.fails("PutArtifact", r.PutArtifact(e.ctx, file("a", []byte("a"))))
}

func active(e *Env) {
	want := map[uint64]sink.Status{}
	for _, through := range [][]sink.Status{{}, {sink.Running}, {sink.Running, sink.Completed}, {sink.Failed}} {
		id := e.build()
		want[id] = sink.Scheduling
		for _, s := range through {
			e.must("SetStatus", e.open(id, true).SetStatus(e.ctx, s))
			want[id] = s
		}
	}
	all, err := e.sink.Active(e.ctx)
	e.must("Active", err)
	seen := map[uint64]bool{}
	for _, b := range all {
		if seen[b.ID] {
			e.Errorf("Active returns build %d twice", b.ID)
		}
		seen[b.ID] = true
		if s, ours := want[b.ID]; ours && (s.Final() || s != b.Status) {
			e.Errorf("Active returns build %d as %s; it is %s", b.ID, b.Status, s)
		}
	}
	for id, s := range want {
		if !s.Final() && !seen[id] {
			e.Errorf("Active does not return build %d, which is %s", id, s)
		}
	}
}

func twoBuilds(e *Env) {
	ids := []uint64{e.build(), e.build()}
	reports := []sink.Report{e.open(ids[0], true), e.open(ids[1], true)}
	texts := make([][]sink.Line, len(ids))
	var both sync.WaitGroup
	for i, id := range ids {
		for _, l := range some(0, 5_000) {
			l.Text = fmt.Appendf(nil, "build %d: %s", id, l.Text)
			texts[i] = append(texts[i], l)
		}
		r := reports[i]
		both.Go(func() {
			defer e.recovered()
			err := r.SetStatus(e.ctx, sink.Running)
			for at := 0; err == nil && at < len(texts[i]); at += 250 {
				if err = r.Append(e.ctx, uint64(at), texts[i][at:at+250]); err == nil && at%1000 == 0 {
					err = r.Commit(e.ctx)
				}
			}
			if err == nil {
				err = r.Commit(e.ctx)
			}
			if err == nil {
				err = r.PutArtifact(e.ctx, file("own", fmt.Append(nil, id)))
			}
			if err != nil {
				e.Errorf("build %d: %v", id, err)
			}
		})
	}
	both.Wait()
	for i, id := range ids {
		e.stores(id, texts[i])
		e.status(id, sink.Running)
		e.files(id, File{"own", fmt.Append(nil, id)})
	}
}

func openAsksNothing(e *Env) {
	id := e.build()
	asked := false
	r := e.openTurn(id, sink.Turn{Fence: func() time.Time { asked = true; return time.Now().Add(time.Minute) }, Clean: true})
	if asked {
		e.Errorf("Open asks the fence, so it writes")
	}
	e.must("Close", r.Close())
	b := e.read(id)
	if b.Status != sink.Scheduling || len(b.Lines)+len(b.Files) > 0 {
		e.Errorf("after Open and Close the build is %+v", b)
	}
}

func cancelled(e *Env) {
	id := e.build()
	e.endsWith("Lines", 0, func(ctx context.Context) error {
		_, err := e.open(id, true).Lines(ctx)
		return err
	})
	e.endsWith("Append and Commit", 0, func(ctx context.Context) error {
		r := e.open(id, true)
		if err := r.Append(ctx, 0, some(0, 2)); err != nil {
			return err
		}
		return r.Commit(ctx)
	})
	e.endsWith("Status", 0, func(ctx context.Context) error {
		_, err := e.open(id, true).Status(ctx)
		return err
	})
	e.endsWith("SetStatus", 0, func(ctx context.Context) error { return e.open(id, true).SetStatus(ctx, sink.Running) })
	e.endsWith("PutArtifact", 0, func(ctx context.Context) error { return e.open(id, true).PutArtifact(ctx, file("a", []byte("a"))) })
	e.endsWith("Active", 0, func(ctx context.Context) error {
		_, err := e.sink.Active(ctx)
		return err
	})
	e.endsWith("Ready", 0, e.sink.Ready)
}

// stalled makes calls of a store that does not answer. Another call that waits does not keep one from ending.
func stalled(e *Env) {
	if e.suite.cfg.Stall == nil {
		cancelled(e)
		return
	}
	id := e.build()
	r := e.open(id, true)
	e.append(r, 0, some(0, 2))
	resume := sync.OnceFunc(e.suite.cfg.Stall())
	e.defers(resume)
	ctx, cancel := context.WithCancel(e.ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() { _ = r.SetStatus(ctx, sink.Running) })
	const bit = 200 * time.Millisecond
	var calls sync.WaitGroup
	calls.Go(func() {
		e.endsWith("SetStatus", bit, func(ctx context.Context) error { return r.SetStatus(ctx, sink.Running) })
	})
	calls.Go(func() {
		e.endsWith("Append and Commit", bit, func(ctx context.Context) error {
			if err := r.Append(ctx, 2, some(2, 2)); err != nil {
				return err
			}
			return r.Commit(ctx)
		})
	})
	calls.Go(func() {
		e.endsWith("PutArtifact", bit, func(ctx context.Context) error { return r.PutArtifact(ctx, file("a", []byte("a"))) })
	})
	calls.Wait()
	cancel()
	resume()
	waiting.Wait()
	n := e.lines(r)
	e.append(r, n, some(n, 6-n))
	e.stores(id, some(0, 6))
}

func ready(e *Env) {
	e.must("Ready", e.sink.Ready(e.ctx))
}

func closeAndGoOn(e *Env) {
	id := e.build()
	s := e.another()
	r := e.openAt(s, id, sink.Turn{Fence: newTurn().fence, Clean: true})
	e.append(r, 0, some(0, 3))
	e.must("SetStatus", r.SetStatus(e.ctx, sink.Running))
	e.must("PutArtifact", r.PutArtifact(e.ctx, file("a", []byte("a"))))
	e.must("Close of the report", r.Close())
	e.must("Close of the sink", s.Close())
	next := e.openAnother(id, true)
	e.counts(next, 3)
	e.says(next, sink.Running)
	e.append(next, 3, some(3, 3))
	e.must("Close", next.Close())
	e.stores(id, some(0, 6))
	e.files(id, File{"a", []byte("a")})
}
