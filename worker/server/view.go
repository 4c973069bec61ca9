package server

import (
	"context"
	"errors"
	"io"
	"sync"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/worker/internal/wire"
	"github.com/wharfci/wharf/worker/journal"
)

// view is what the journal says of the build, kept up to date.
type view struct {
	journal *journal.Writer
	metrics *metrics

	mu      sync.Mutex
	summary journal.Summary
	read    uint64 // the last entry that a client was sent
	over    bool   // it sees no other
	lost    bool   // the journal could not store what it told last
	err     error  // why the journal cannot be read
	moved   sync.Cond
}

func newView(j *journal.Writer) *view {
	v := &view{journal: j, summary: journal.Summary{State: journal.Running}}
	v.moved.L = &v.mu
	v.metrics = newMetrics(v)
	return v
}

// follow reads the journal, but for the text of logs, until its end.
func (v *view) follow(ctx context.Context, b Build) {
	var err error
	defer func() { v.end(err) }()
	r, err := journal.Open(b.Results())
	if err != nil {
		return
	}
	defer func() { _ = r.Close() }()
	r.WithoutText()
	for {
		var batch *journal.Batch
		if batch, err = r.NextBatch(); err == nil {
			v.metrics.add(batch)
			v.add(batch)
			continue
		}
		if !errors.Is(err, io.EOF) {
			return
		}
		if err = nil; v.journal.Wait(ctx, r) != nil { // the end, of the journal or of the server
			return
		}
	}
}

// end notes that nothing more will be seen, but what the journal could not store.
func (v *view) end(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over, v.err = true, err
	for _, e := range v.journal.Unstored() {
		v.lost = true
		v.summary.Add(&journal.Batch{First: v.summary.Last, Event: e})
	}
	v.moved.Broadcast()
}

// catchUp waits until everything has been seen that is in the journal now.
func (v *view) catchUp(ctx context.Context) {
	last := v.journal.Last()
	defer context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.moved.Broadcast()
	})()
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.summary.Last < last && !v.over && ctx.Err() == nil {
		v.moved.Wait()
	}
}

// ready returns why the build cannot be served, or nil.
func (v *view) ready() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// standing is the build's state, and why; stored is false if the journal could not take it.
func (v *view) standing() (state journal.State, reason string, stored bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.summary.State, v.summary.Reason, !v.lost
}

func (v *view) add(b *journal.Batch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.summary.Add(b)
	v.moved.Broadcast()
}

// build is where the build stands, as a message of its own.
func (v *view) build() *workerv1.Build {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &v.summary
	b := &workerv1.Build{State: string(s.State), Reason: s.Reason, Began: wire.Time(s.Began), Ended: wire.Time(s.Ended)}
	for _, s := range s.Steps {
		b.Steps = append(b.Steps, &workerv1.Step{Id: s.ID, Stage: s.Stage, State: string(s.State), Reason: s.Reason, Attempt: int32(s.Attempt), Since: wire.Time(s.Since)})
	}
	return b
}

func (v *view) allArtifacts() []*workerv1.Artifact {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []*workerv1.Artifact
	for i := range v.summary.Artifacts {
		all = append(all, message(&v.summary.Artifacts[i]))
	}
	return all
}

// artifact returns one, or nil.
func (v *view) artifact(step, name string) *workerv1.Artifact {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.summary.Artifact(step, name)
	if e == nil {
		return nil
	}
	return message(e)
}

func message(e *journal.Event) *workerv1.Artifact {
	return &workerv1.Artifact{Step: e.Step, Name: e.Name, Size: e.Size, Sha256: e.SHA256}
}

// taken notes that a client was sent the entries up to a number.
func (v *view) taken(last uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read = max(v.read, last)
}

// lag is how many entries no client was sent yet.
func (v *view) lag() uint64 {
	last := v.journal.Last()
	v.mu.Lock()
	defer v.mu.Unlock()
	return last - min(v.read, last)
}
