package target

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// ErrBrokenOff is the error of a build that is followed, no process serves, and has no end on record: the process that ran it is gone.
var ErrBrokenOff = errors.New("the build was broken off: the process that ran it is gone")

// errEnough says that whoever reads wants no more.
var errEnough = errors.New("enough")

// Events iterates over the journal, to its end or, with Follow, to the build's, also where the connection is lost on the way. An error is the last pair.
func (t *Target) Events(ctx context.Context, opts client.ReadOptions) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		take := func(e journal.Event) bool {
			if e.Seq > 0 { // 0 is what is not on record
				opts.After = e.Seq
			}
			return yield(e, nil)
		}
		err := t.read(ctx, opts, take)
		for opts.Follow && lost(ctx, err) {
			if err = t.reconnect(ctx, err); err == nil {
				err = t.read(ctx, opts, take)
			}
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(journal.Event{}, explain(err))
		}
	}
}

// read reads from the process that serves the build, or from the files.
func (t *Target) read(ctx context.Context, opts client.ReadOptions, take func(journal.Event) bool) error {
	if t.client == nil {
		return t.readFiles(ctx, opts, take)
	}
	for e, err := range t.client.Events(ctx, opts) {
		if err != nil {
			return err
		}
		if !take(e) {
			return errEnough
		}
	}
	return nil
}

// readFiles reads what the files hold. Nothing is still to come there; so who follows is told if that is not all of the build.
func (t *Target) readFiles(ctx context.Context, opts client.ReadOptions, take func(journal.Event) bool) error {
	r, err := journal.OpenAfter(t.Dir, opts.After)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	r.Only(opts.Step)
	if opts.WithoutLogs {
		r.WithoutLogs()
	}
	for ctx.Err() == nil {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t.whole(ctx, opts)
		}
		if err != nil {
			return err
		}
		for _, e := range events {
			if !take(e) {
				return errEnough
			}
		}
	}
	return ctx.Err()
}

// whole returns [ErrBrokenOff] if the build is followed and its end is not on record.
func (t *Target) whole(ctx context.Context, opts client.ReadOptions) error {
	if !opts.Follow {
		return nil
	}
	b, err := t.Build(ctx)
	if err == nil && !b.State.Final() {
		err = ErrBrokenOff
	}
	return err
}

// lost reports whether an error is that of a connection that was lost, or that cannot be made.
func lost(ctx context.Context, err error) bool {
	code := status.Code(err)
	return ctx.Err() == nil && (code == codes.Unavailable || code == codes.Canceled) // the latter is what a server says that ends
}

// Between attempts to reach a worker elsewhere passes a time that doubles from the first to the last of these, for as long as patience in a row.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 10 * time.Second
	patience   = 2 * time.Minute
)

// reconnect reaches the process that serves the build anew. If that was on this machine and is gone, the files have what there is.
func (t *Target) reconnect(ctx context.Context, cause error) error {
	if t.Dir != "" {
		t.Close()
		t.client = nil
		return t.attach(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, cause)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		_, err := t.ask(ctx, false)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !lost(ctx, err) {
			return err
		}
	}
}
