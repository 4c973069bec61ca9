package fake

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Logs reads what a task prints; see [driver.Driver].
func (d *Driver) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	r, err := d.logs(ctx, id, opts)
	if err != nil {
		return nil, driver.Wrap(ctx, "logs", string(id), err)
	}
	return r, nil
}

func (d *Driver) logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (*reader, error) {
	if err := d.begin(ctx, "logs"); err != nil {
		return nil, err
	}
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	next := 0
	if opts.From != "" {
		at, number, _ := strings.Cut(string(opts.From), "@")
		if next, err = strconv.Atoi(number); err != nil || at != string(id) || next < 0 {
			return nil, driver.WithClass(errdefs.ErrInvalidArgument, "%q is no cursor of this task", opts.From)
		}
	}
	for _, name := range opts.Containers {
		if t.box(name) == nil {
			return nil, driver.WithClass(errdefs.ErrInvalidArgument, "the task has no container %q", name)
		}
	}
	r := &reader{d: d, ctx: ctx, t: t, opts: opts, next: next, closed: make(chan struct{})}
	return r, nil
}

// reader is a place in a journal.
type reader struct {
	d      *Driver
	ctx    context.Context
	t      *task
	opts   driver.LogOptions
	next   int
	once   sync.Once
	closed chan struct{}
}

// Next returns the next entry; see [driver.LogReader].
func (r *reader) Next() (driver.LogEntry, error) {
	for {
		entry, err := r.read()
		if err != nil {
			if err != io.EOF {
				err = driver.Wrap(r.ctx, "logs", string(r.t.id), err)
			}
			return driver.LogEntry{}, err
		}
		if len(r.opts.Containers) == 0 || slices.Contains(r.opts.Containers, entry.Container) {
			return entry, nil
		}
	}
}

func (r *reader) read() (driver.LogEntry, error) {
	select {
	case <-r.closed:
		return driver.LogEntry{}, driver.WithClass(context.Canceled, "the reader is closed")
	default:
	}
	if err := r.d.begin(r.ctx, "next"); err != nil {
		return driver.LogEntry{}, err
	}
	for {
		entry, ok, ended, gone, changed := r.t.journal.at(r.next)
		switch {
		case ok:
			r.next++
			entry.Line = slices.Clone(entry.Line)
			return entry, nil
		case gone:
			return entry, driver.WithClass(errdefs.ErrNotFound, "the task was removed before its log was read to the end")
		case ended || !r.opts.Follow:
			return entry, io.EOF
		}
		if err := r.d.until(r.ctx, changed, r.closed); err != nil {
			return entry, err
		}
		select {
		case <-r.closed:
			return entry, driver.WithClass(context.Canceled, "the reader is closed")
		default:
		}
	}
}

// Cursor returns the place after the last entry; see [driver.LogReader].
func (r *reader) Cursor() driver.Cursor {
	return driver.Cursor(string(r.t.id) + "@" + strconv.Itoa(r.next))
}

// Close ends the reader; see [driver.LogReader].
func (r *reader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
