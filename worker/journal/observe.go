package journal

import (
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

// done is the offset behind the last line that was decoded.
func (r *Reader) done() int64 { return r.off - int64(len(r.buf)) }

// until tells f all events of the records before end.
func (r *Reader) until(end int64, f func([]Event)) error {
	for r.done() < end {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f(events)
		for i := range events {
			if events[i].Kind == KindStep && events[i].State.Final() {
				r.release(events[i].Step)
			}
		}
	}
	return nil
}
