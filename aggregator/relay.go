package aggregator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/wharfci/wharf/aggregator/internal/transcript"
	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// source is a build's journal, with its artifacts: that of a worker that runs, or what one has left.
type source interface {
	Batches(context.Context, client.ReadOptions) iter.Seq2[*journal.Batch, error]
	ReadArtifact(ctx context.Context, step, name string, offset int64, w io.Writer) (int64, error)
}

// relay brings one journal to the sink.
type relay struct {
	a      *Aggregator
	m      *member
	t      *tending
	source source
	renew  *renewer
	taken  func(last uint64, tell bool) // tells the worker how far this is
	over   func() []string              // if the journal has no end: what is said of that, when all of it has been relayed; else nil

	last    uint64   // the number of the last entry that the sink has
	refused []string // what the sink does not take
	counted bool     // it has been asked how many lines it has
}

// sinkError is an error of the sink, as opposed to one of the worker.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

func ofSink(err error) error {
	if err == nil {
		return nil
	}
	return sinkError{err}
}

// How long a sink that takes nothing is left alone between two tries, at most; and one that does not take this one build.
const (
	mostPause   = 15 * time.Second
	mostRefusal = time.Minute
)

// run relays everything, and returns nil when the sink has all of it. While the sink is away it tries on; it returns when ctx ends, or the source cannot be read.
func (r *relay) run(ctx context.Context) error {
	held, stop := context.WithCancel(ctx)
	defer stop()
	go r.renew.run(held)
	wait := backoff{}
	for {
		before := r.last
		err := r.once(ctx)
		var s sinkError
		if err == nil || ctx.Err() != nil || !errors.As(err, &s) {
			return err
		}
		if r.last > before {
			wait = backoff{}
		}
		most := mostPause
		switch {
		case errdefs.IsUnavailable(err), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
			r.a.tide.fall(err)
		default: // it does not take this one build
			most = mostRefusal
		}
		next := wait.next(most)
		r.a.log.Warn("the sink does not take a build; trying again", "worker", r.m.worker.ID, "build", r.m.worker.Build, "error", err, "in", next.Round(time.Millisecond).String())
		if !r.a.tide.wait(ctx, next) {
			return context.Cause(ctx)
		}
	}
}

// once goes on from what the sink has.
func (r *relay) once(ctx context.Context) error {
	done, err := r.renew.use(ctx)
	if err != nil {
		return err
	}
	defer done()
	have, err := r.t.report.Lines(ctx)
	if err != nil {
		return ofSink(err)
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	t, after, err := resume(ctx, r.source, have)
	if err != nil {
		return err
	}
	if have > 0 && !r.counted {
		r.a.met.avoided.Add(float64(have))
		if r.t.fence == 1 {
			r.a.log.Warn("the sink has lines of a build that nobody has relayed: they are taken for its first", "worker", r.m.worker.ID, "build", r.m.worker.Build, "lines", have, "help", "give each build a number of its own")
		}
	}
	r.counted = true
	r.a.tide.rise()
	r.m.settle()
	r.a.share.changed()
	done()
	group, inner := errgroup.WithContext(ctx)
	files := newFiles(r)
	files.add(t.Artifacts)
	f := &flow{relay: r, transcript: t, have: have, at: have, read: after, files: files}
	group.Go(func() error { return files.run(inner) })
	group.Go(func() error {
		defer files.end()
		return f.run(inner)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return r.finish(ctx, f)
}

// begin says that the build runs, unless the sink knows.
func (r *relay) begin(ctx context.Context) error {
	if r.t.begun {
		return nil
	}
	now, err := r.t.report.Status(ctx)
	if err == nil && now == sink.Scheduling {
		err = r.t.report.SetStatus(ctx, sink.Running)
	}
	r.t.begun = err == nil
	return ofSink(err)
}

// resume reads the journal without its text up to the place behind the first lines of which the sink has so many, or one before it, and returns the transcript up to there, and the number of
// its last entry.
func resume(ctx context.Context, s source, have uint64) (t *transcript.Transcript, after uint64, err error) {
	if have == 0 {
		return transcript.New(), 0, nil
	}
	t, after, err = count(ctx, s, func(t *transcript.Transcript, b *journal.Batch) bool { return t.Most(b) > have })
	if err != nil || t.Whole() {
		return t, after, err
	}
	// It stands within a line, of which the beginning is to be read: once more, up to where no line was open.
	return count(ctx, s, func(_ *transcript.Transcript, b *journal.Batch) bool { return b.Last() > after })
}

// count reads the journal without its text up to the batch of which over says that it is too much, and returns the transcript, and the number of the last entry behind which no line was open.
func count(ctx context.Context, s source, over func(*transcript.Transcript, *journal.Batch) bool) (t *transcript.Transcript, whole uint64, err error) {
	t = transcript.New()
	for b, err := range s.Batches(ctx, client.ReadOptions{WithoutText: true}) {
		if err != nil {
			return nil, 0, err
		}
		if over(t, b) {
			break
		}
		if _, err := t.Add(b); err != nil {
			return nil, 0, err
		}
		if t.Whole() {
			whole = b.Last()
		}
	}
	return t, whole, nil
}

// finish says what is left to say, and how the build has ended.
func (r *relay) finish(ctx context.Context, f *flow) error {
	done, err := r.renew.use(ctx)
	if err != nil {
		return err
	}
	defer done()
	t := f.transcript
	state := sink.Failed
	if t.State == journal.Succeeded {
		state = sink.Completed
	}
	// What the sink has beyond the transcript is the beginning of this.
	tail, skip := append(slices.Clone(r.refused), r.ended(t.State)...), int(f.have-min(f.have, t.Lines))
	if !t.State.Final() {
		tail = append(r.over(), r.refused...)
		// Of a journal of which a part is missing, its number of lines does not tell.
		_, since, err := r.t.report.Find(ctx, transcript.Own+verdictWords)
		if err != nil {
			return ofSink(err)
		}
		skip = int(since)
	}
	for ; skip < len(tail); skip++ {
		line := sink.Line{Time: time.Now(), Text: transcript.Clean([]byte(transcript.Own + tail[skip]))}
		if err := r.t.report.Append(ctx, f.at, []sink.Line{line}); err != nil {
			return ofSink(err)
		}
		f.at++
	}
	if err := r.t.report.Commit(ctx); err != nil {
		return ofSink(err)
	}
	if err := r.t.report.SetStatus(ctx, state); err != nil {
		return ofSink(err)
	}
	r.a.tide.rise()
	r.taken(r.last, true)
	r.a.met.builds.WithLabelValues(string(state)).Inc()
	r.a.log.Info("relayed a build", "worker", r.m.worker.ID, "build", r.m.worker.Build, "lines", f.at, "state", state)
	return nil
}

// ended is what the runtime has said of why it ends a worker whose build says only that it was cancelled.
func (r *relay) ended(s journal.State) []string {
	if _, why := r.m.waiting(); s == journal.Cancelled && why != "" {
		return []string{shortened("the runtime said: " + why)}
	}
	return nil
}

// verdictWords begin the first line of those that say how a build has ended whose journal does not.
const verdictWords = "the build has failed: "

// refuse notes that the sink does not take an artifact.
func (r *relay) refuse(a *transcript.Artifact, err error) {
	words := fmt.Sprintf("artifact %s of step %s was not taken: %v", a.Path, a.Step, err)
	r.a.log.Warn("the sink does not take an artifact", "worker", r.m.worker.ID, "build", r.m.worker.Build, "artifact", a.Path, "error", err)
	r.refused = append(r.refused, words)
}
