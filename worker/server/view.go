package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/worker/internal/wire"
	"github.com/wharfci/wharf/worker/journal"
)

// view is what the journal says of the build, kept up to date.
type view struct {
	journal *journal.Writer
	metrics *metrics

	mu        sync.Mutex
	state     journal.State
	reason    string
	began     time.Time
	ended     time.Time
	steps     []*workerv1.Step
	byID      map[string]*workerv1.Step
	artifacts []*workerv1.Artifact
	byName    map[name]*workerv1.Artifact
	read      uint64 // the last entry that a client was sent
	err       error  // why the journal cannot be read
}

// name is that of an artifact.
type name struct{ step, path string }

func newView(j *journal.Writer) *view {
	v := &view{journal: j, state: journal.Running, byID: map[string]*workerv1.Step{}, byName: map[name]*workerv1.Artifact{}}
	v.metrics = newMetrics(v)
	return v
}

// follow reads the journal, but for the text of logs, until its end.
func (v *view) follow(ctx context.Context, b Build) {
	r, err := journal.Open(b.Results())
	if err != nil {
		v.fail(err)
		return
	}
	defer func() { _ = r.Close() }()
	r.WithoutText()
	for {
		batch, err := r.NextBatch()
		switch {
		case err == nil:
			v.add(batch)
			v.metrics.add(batch)
			continue
		case !errors.Is(err, io.EOF):
			v.fail(err)
			return
		}
		if err := v.journal.Wait(ctx, r); err != nil { // the end, of the journal or of the server
			return
		}
	}
}

func (v *view) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
}

// ready returns why the build cannot be served, or nil.
func (v *view) ready() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

func (v *view) add(b *journal.Batch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := &b.Event
	switch e.Kind {
	case journal.KindBuild:
		v.state, v.reason = e.State, e.Reason
		if v.began.IsZero() {
			v.began = e.Time
		}
		if e.State.Final() {
			v.ended = e.Time
		}
	case journal.KindStop:
		v.reason = e.Reason
	case journal.KindStep:
		v.step(e)
	case journal.KindArtifact:
		key := name{e.Step, e.Name}
		if v.byName[key] == nil {
			v.byName[key] = &workerv1.Artifact{Step: e.Step, Name: e.Name}
			v.artifacts = append(v.artifacts, v.byName[key])
		}
		v.byName[key].Size, v.byName[key].Sha256 = e.Size, e.SHA256
	}
}

func (v *view) step(e *journal.Event) {
	s := v.byID[e.Step]
	if s == nil {
		s = &workerv1.Step{Id: e.Step, Stage: e.Stage}
		v.byID[e.Step] = s
		v.steps = append(v.steps, s)
	}
	s.State, s.Reason, s.Attempt, s.Since = string(e.State), e.Reason, int32(e.Attempt), timestamppb.New(e.Time)
}

// build is where the build stands, as a message of its own.
func (v *view) build() *workerv1.Build {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := &workerv1.Build{State: string(v.state), Reason: v.reason, Began: wire.Time(v.began), Ended: wire.Time(v.ended)}
	for _, s := range v.steps {
		b.Steps = append(b.Steps, &workerv1.Step{Id: s.Id, Stage: s.Stage, State: s.State, Reason: s.Reason, Attempt: s.Attempt, Since: s.Since})
	}
	return b
}

func (v *view) allArtifacts() []*workerv1.Artifact {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []*workerv1.Artifact
	for _, a := range v.artifacts {
		all = append(all, &workerv1.Artifact{Step: a.Step, Name: a.Name, Size: a.Size, Sha256: a.Sha256})
	}
	return all
}

// artifact returns one, or nil.
func (v *view) artifact(step, path string) *workerv1.Artifact {
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.byName[name{step, path}]
	if a == nil {
		return nil
	}
	return &workerv1.Artifact{Step: a.Step, Name: a.Name, Size: a.Size, Sha256: a.Sha256}
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
