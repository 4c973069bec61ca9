package aggregator

import (
	"context"
	"errors"
	"time"

	"github.com/wharfci/wharf/aggregator/internal/transcript"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// errEnded is the error of a journal that ends before its build.
var errEnded = errors.New("the journal ends before the build does")

// flow carries the lines of a journal.
type flow struct {
	*relay
	transcript *transcript.Transcript
	have       uint64 // how many lines the sink had
	files      *files

	at    uint64    // how many lines the sink has, and was sent
	sent  int       // since the last commit
	began time.Time // when the first of these was sent
	read  uint64    // the last entry that the transcript has
	done  func()    // gives the lease back; nil while it is not in use
}

// run carries lines until the journal's end.
func (f *flow) run(ctx context.Context) error {
	defer f.rest()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := make(chan *journal.Batch, 2)
	after := f.read
	go func() {
		defer close(batches)
		for b, err := range f.source.Batches(ctx, client.ReadOptions{After: after, Follow: true}) {
			if err != nil {
				cancel(err)
				return
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { // nobody reads on
		cancel(nil)
		for range batches {
		}
	}()
	idle := time.NewTimer(0)
	idle.Stop()
	for {
		select {
		case b, more := <-batches:
			if !more {
				if err := context.Cause(ctx); err != nil {
					return f.broken(ctx, err)
				}
				if !f.transcript.State.Final() && f.over == nil {
					return f.broken(ctx, errEnded)
				}
				return f.commit(ctx)
			}
			if err := f.take(ctx, b); err != nil {
				return err
			}
			if f.sent > 0 {
				idle.Reset(commitIdle)
			} else {
				idle.Stop()
				f.progress(true)
			}
		case <-idle.C:
			if err := f.commit(ctx); err != nil {
				return err
			}
			f.progress(true)
		case <-ctx.Done():
			return f.broken(ctx, context.Cause(ctx))
		}
	}
}

// farewell is how long the sink has to say what it has stored when the relay is to end.
const farewell = 3 * time.Second

// broken ends a flow whose source cannot be read any more, or that is to end: what was sent is committed if that can be done soon.
func (f *flow) broken(ctx context.Context, err error) error {
	if f.sent == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_ = f.commit(ctx)
	return err
}

// take takes the next batch.
func (f *flow) take(ctx context.Context, b *journal.Batch) error {
	before := f.transcript.Lines
	lines, err := f.transcript.Add(b)
	if err != nil {
		return err
	}
	f.read = b.Last()
	f.files.add(f.transcript.Artifacts)
	if before < f.have { // the sink has the first of these
		lines = lines[min(f.have-before, uint64(len(lines))):]
	}
	if len(lines) == 0 {
		return nil
	}
	if f.done == nil {
		if f.done, err = f.renew.use(ctx); err != nil {
			return err
		}
	}
	if f.sent == 0 {
		f.began = time.Now()
	}
	f.sent += len(lines)
	if err := f.t.report.Append(ctx, f.at, lines); err != nil {
		return ofSink(err)
	}
	f.at += uint64(len(lines))
	f.a.met.lines.Add(float64(len(lines)))
	f.m.progress(f.read, f.last)
	if f.sent >= commitLines || time.Since(f.began) >= commitEvery {
		return f.commit(ctx)
	}
	return nil
}

// commit has the sink store what was sent.
func (f *flow) commit(ctx context.Context) error {
	defer f.rest()
	if f.sent > 0 {
		if err := f.t.report.Commit(ctx); err != nil {
			return ofSink(err)
		}
		f.sent = 0
		f.a.tide.rise()
	}
	f.progress(false)
	return nil
}

// progress notes that the sink has everything that was read.
func (f *flow) progress(tell bool) {
	f.last = f.read
	f.taken(f.last, tell)
	f.m.progress(f.read, f.last)
}

// rest gives the lease back.
func (f *flow) rest() {
	if f.done != nil {
		f.done()
		f.done = nil
	}
}
