package local

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
)

// report is one build of a store. See [sink.Report].
type report struct {
	store *Store
	build uint64
	turn  sink.Turn

	// What belongs to who writes lines.
	known   bool    // base is what is stored
	base    uint64  // how many lines there are before those that wait
	waiting []block // lines that were appended, and are not stored
	count   uint64  // of these
	bytes   int
}

// mostWaiting is how many bytes wait before they are stored without a Commit.
const mostWaiting = 1 << 20

// errMoved is the error of lines that belong elsewhere.
var errMoved = errors.New("the lines do not follow those that are stored")

// forget drops what waits.
func (r *report) forget() {
	r.known = false
	clear(r.waiting)
	r.waiting, r.count, r.bytes = r.waiting[:0], 0, 0
}

// Lines returns how many lines are stored. What was appended and not committed, and is not stored, will not be.
func (r *report) Lines(ctx context.Context) (uint64, error) {
	r.forget()
	b, err := r.store.build(ctx, r.build)
	if err != nil && !errdefs.IsNotFound(err) {
		return 0, err
	}
	r.known, r.base = true, b.Lines
	return b.Lines, nil
}

// Clean is always so: what was not stored when a call has returned never will be.
func (r *report) Clean() bool { return true }

// Find is Lines, and reads the log for the last line that begins with a prefix.
func (r *report) Find(ctx context.Context, prefix string) (lines, since uint64, err error) {
	if lines, err = r.Lines(ctx); err != nil {
		return 0, 0, err
	}
	for at := uint64(0); at < lines && prefix != ""; {
		parts, err := r.store.page(ctx, r.build, at, lines-at)
		if err != nil {
			return 0, 0, err
		}
		if len(parts) == 0 {
			return 0, 0, r.of(errBlock)
		}
		for _, p := range parts {
			at = p.first
			if err := decode(p.data, func(_ time.Time, text []byte) bool {
				if at++; bytes.HasPrefix(text, []byte(prefix)) {
					since = lines - at + 1
				}
				return at < lines
			}); err != nil {
				return 0, 0, r.of(err)
			}
		}
	}
	return lines, since, nil
}

// Append takes lines, and stores them when they are many.
func (r *report) Append(ctx context.Context, at uint64, lines []sink.Line) error {
	err := r.append(ctx, at, lines)
	if err != nil {
		r.forget()
	}
	return err
}

func (r *report) append(ctx context.Context, at uint64, lines []sink.Line) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := open(r.turn.Fence); err != nil {
		return r.of(err)
	}
	if !r.known {
		if _, err := r.Lines(ctx); err != nil {
			return err
		}
	}
	if want := r.base + r.count; at != want {
		return r.of(fmt.Errorf("%w: they are said to be behind the first %d, and there are %d", errMoved, at, want))
	}
	for i := range lines {
		if r.bytes >= mostWaiting { // what is left waits, so that Commit has something to do
			if err := r.flush(ctx, false); err != nil {
				return err
			}
		}
		if n := len(r.waiting); n == 0 || len(r.waiting[n-1].data) >= blockBytes {
			r.waiting = append(r.waiting, block{data: make([]byte, 0, min(blockBytes+1<<10, 256*(len(lines)-i)))})
		}
		b := &r.waiting[len(r.waiting)-1]
		before := len(b.data)
		b.add(&lines[i])
		r.count++
		r.bytes += len(b.data) - before
	}
	return nil
}

// of says which build an error is of.
func (r *report) of(err error) error {
	return fmt.Errorf("local sink: build %d: %w", r.build, err)
}

// Commit stores what waits.
func (r *report) Commit(ctx context.Context) error {
	if r.count == 0 {
		return ctx.Err()
	}
	err := r.flush(ctx, true)
	if err != nil {
		r.forget()
	}
	return err
}

// flush stores what waits, if it still follows what is stored.
func (r *report) flush(ctx context.Context, durable bool) error {
	err := r.store.write(ctx, durable, r.turn.Fence, func(ctx context.Context, tx *sql.Tx) error {
		if err := ensure(ctx, tx, r.build); err != nil {
			return err
		}
		var have uint64
		if err := tx.QueryRowContext(ctx, "UPDATE build SET lines = lines + ? WHERE id = ? RETURNING lines", int64(r.count), int64(r.build)).Scan(&have); err != nil {
			return err
		}
		if have -= r.count; have != r.base {
			return fmt.Errorf("%w: build %d has %d, and they come behind the first %d", errMoved, r.build, have, r.base)
		}
		for i := range r.waiting {
			b := &r.waiting[i]
			if _, err := tx.ExecContext(ctx, "INSERT INTO block (build, first, count, data) VALUES (?, ?, ?, ?)", int64(r.build), int64(have), int64(b.count), b.data); err != nil {
				return err
			}
			have += b.count
		}
		return nil
	})
	if err != nil {
		return err
	}
	base := r.base + r.count
	r.forget()
	r.known, r.base = true, base
	r.store.watch.changed(r.build)
	return nil
}

// Status returns the build's state: Scheduling of one that there is not.
func (r *report) Status(ctx context.Context) (sink.Status, error) {
	b, err := r.store.build(ctx, r.build)
	if errdefs.IsNotFound(err) {
		return sink.Scheduling, nil
	}
	return b.Status, err
}

// rank is the place of a state in a build's life; negative if it cannot be set.
func rank(s sink.Status) int {
	switch s {
	case sink.Scheduling:
		return 0
	case sink.Running:
		return 1
	case sink.Completed, sink.Failed:
		return 2
	}
	return -1
}

// SetStatus sets the build's state, unless the one that it has is as late.
func (r *report) SetStatus(ctx context.Context, s sink.Status) error {
	if rank(s) < 0 {
		return r.of(errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("a build cannot be set to %q", s)))
	}
	err := r.store.write(ctx, true, r.turn.Fence, func(ctx context.Context, tx *sql.Tx) error {
		if err := ensure(ctx, tx, r.build); err != nil {
			return err
		}
		var now string
		if err := tx.QueryRowContext(ctx, "SELECT status FROM build WHERE id = ?", int64(r.build)).Scan(&now); err != nil {
			return err
		}
		if rank(s) <= rank(sink.Status(now)) {
			return nil
		}
		at := time.Now().UnixNano()
		field := "started"
		if s.Final() {
			field = "finished"
		}
		if _, err := tx.ExecContext(ctx, "UPDATE build SET status = ?, "+field+" = ? WHERE id = ?", string(s), at, int64(r.build)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO history (build, status, time) VALUES (?, ?, ?)", int64(r.build), string(s), at)
		return err
	})
	if err == nil {
		r.store.watch.changed(r.build)
	}
	return err
}

// Close drops what was appended and not committed, as far as it is not stored.
func (r *report) Close() error {
	r.forget()
	return nil
}
