package remote

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/wharfci/wharf/driver"
)

// Logs reads what a task prints; a broken connection is resumed where it was. See [driver.Driver].
func (d *Driver) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	r := &reader{d: d, id: id, opts: opts}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	if err := d.patiently(ctx, r.open); err != nil {
		r.cancel(nil)
		return nil, driver.Wrap(ctx, "logs", string(id), err)
	}
	return r, nil
}

// reader is a [driver.LogReader].
type reader struct {
	d      *Driver
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	id     driver.TaskID
	opts   driver.LogOptions // From is behind the entry that was returned last
	mu     sync.Mutex
	w      *wire
	stop   func() bool
	rest   []byte // entries that have come
	end    error
}

// open makes a connection for the log from where it is.
func (r *reader) open() error {
	w, err := r.d.open(r.ctx, "Logs", onTask[driver.LogOptions]{r.id, r.opts})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w, r.stop = w, context.AfterFunc(r.ctx, func() { w.Close() })
	return nil
}

// Next returns the next entry. See [driver.LogReader].
func (r *reader) Next() (driver.LogEntry, error) {
	if len(r.rest) == 0 && r.end == nil {
		err := r.d.patiently(r.ctx, func() error {
			err := r.fetch()
			var b *broken
			if errors.As(err, &b) && r.ctx.Err() == nil {
				r.close()
				if again := r.open(); again != nil {
					return again
				}
			}
			return err
		})
		if err != nil {
			r.fail(err)
		}
	}
	if len(r.rest) == 0 {
		return driver.LogEntry{}, r.end
	}
	e, cursor, rest, err := nextEntry(r.rest)
	if err != nil {
		r.rest = nil
		r.fail(err)
		return driver.LogEntry{}, r.end
	}
	r.opts.From, r.rest = cursor, rest
	return e, nil
}

// fail notes how the log has ended.
func (r *reader) fail(err error) {
	if r.ctx.Err() != nil {
		err = context.Cause(r.ctx)
	}
	if r.end = err; err != io.EOF {
		r.end = driver.Wrap(r.ctx, "logs", string(r.id), err)
	}
}

// fetch takes the next entries from the connection.
func (r *reader) fetch() error {
	k, payload, err := r.w.receive()
	switch {
	case err != nil:
		return r.d.fault(err)
	case k == kindItem && len(payload) > 0:
		r.rest = payload
		return nil
	case k != kindAnswer:
		return errEntry
	}
	if err := decode(payload, nil); err != nil {
		return err
	}
	return io.EOF
}

// Cursor returns the place behind the last entry. See [driver.LogReader].
func (r *reader) Cursor() driver.Cursor { return r.opts.From }

// Close ends the connection. See [driver.LogReader].
func (r *reader) Close() error {
	r.cancel(errReaderClosed)
	r.close()
	return nil
}

func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop()
	r.w.Close()
}

var errReaderClosed = errors.New("the reader was closed")
