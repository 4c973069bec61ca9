package journal

import (
	"context"
	"errors"
	"io"
)

// Observe calls f with every event, in order, in batches, until the journal is closed and all was told. The slice is valid
// during the call only. It reads what the writer stored, so that a slow f reads later and holds nothing up. Progress of
// pulls, and events that could not be stored, come without a number.
func (w *Writer) Observe(f func([]Event)) error {
	r, err := Open(w.dir)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	for {
		pulls, end, closed := w.wait(r)
		if len(pulls) > 0 {
			f(pulls)
		}
		if err := r.until(end, f); err != nil {
			return err
		}
		if closed {
			if len(w.unstored) > 0 {
				f(w.unstored)
			}
			return nil
		}
	}
}

// wait blocks until there is something to tell: pulls, records up to the offset end, or the end of the journal.
func (w *Writer) wait(r *Reader) (pulls []Event, end int64, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pulls) == 0 && w.size == r.done() && !w.closed {
		w.moved.Wait()
	}
	pulls, w.pulls = w.pulls, nil
	return pulls, w.size, w.closed
}

// until tells f all events of the records before end.
func (r *Reader) until(end int64, f func([]Event)) error {
	for r.batch != nil || r.done() < end {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f(events)
	}
	return nil
}

// Wait blocks until there is something behind what r has returned (nil), the journal is closed (io.EOF), or ctx ends (its cause).
func (w *Writer) Wait(ctx context.Context, r *Reader) error {
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.moved.Broadcast()
	})()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case r.batch != nil || w.size > r.done():
			return nil
		case w.closed:
			return io.EOF
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		w.moved.Wait()
	}
}
