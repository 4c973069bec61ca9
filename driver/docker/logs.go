package docker

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/frames"
	"github.com/wharfci/wharf/driver/internal/logqueue"
)

// Logs reads what a task prints. See [driver.Driver].
func (d *Driver) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	ctx, done := d.begin(ctx)
	r, err := d.logs(ctx, id, opts)
	if err != nil {
		err = driver.Wrap(ctx, "logs", string(id), classify(err))
		done()
		return nil, err
	}
	r.done = done
	r.run()
	return r, nil
}

func (d *Driver) logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (_ *logReader, err error) {
	h, err := d.parse(string(id))
	if err != nil {
		return nil, err
	}
	from, err := frames.ParseCursor(opts.From, h.container)
	if err != nil {
		return nil, err
	}
	r := &logReader{d: d, ctx: ctx, handle: h, q: logqueue.New[*source]()}
	defer func() {
		if err != nil {
			r.closeSources()
		}
	}()
	if err := r.addSources(opts, from); err != nil {
		return nil, err
	}
	for _, s := range r.sources {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// addSources makes a source for each container of the task that is asked for.
func (r *logReader) addSources(opts driver.LogOptions, from map[string]frames.Positions) error {
	unknown := slices.Clone(opts.Containers)
	add := func(name, id string) {
		i := slices.Index(unknown, name)
		if len(opts.Containers) > 0 && i < 0 {
			return
		}
		if i >= 0 {
			unknown = slices.Delete(unknown, i, i+1)
		}
		r.sources = append(r.sources, newSource(r, name, id, opts.Follow, from[name]))
	}
	if r.handle.group != "" {
		if _, err := r.d.inspect(r.ctx, r.handle.container); err != nil {
			return err
		}
		g, err := r.d.group(r.ctx, r.handle)
		if err != nil {
			return err
		}
		for _, c := range slices.Concat(g.inits, g.services) {
			add(c.Labels[labelContainer], c.ID)
		}
	}
	add(driver.MainContainer, r.handle.container)
	if len(unknown) > 0 {
		return driver.WithClass(errdefs.ErrInvalidArgument, "the task has no container %q", unknown[0])
	}
	return nil
}

// logReader merges the logs of a task's containers. The sources' goroutines only move bytes; the
// consumer's calls of Next take them apart.
type logReader struct {
	d       *Driver
	ctx     context.Context
	done    func()
	handle  handle
	sources []*source
	over    chan struct{} // closed when the main container will not run any more
	q       *logqueue.Queue[*source]
	once    sync.Once

	// What follows belongs to the consumer.
	live int
	cur  *source   // whose data is
	data []byte    // not yet taken apart
	at   time.Time // when data arrived
	end  *source   // ended, and its last lines are to be delivered
	err  error     // after which nothing comes

	places []frames.Place // of the last cursor, to be used again
}

// run starts the goroutines.
func (r *logReader) run() {
	r.live = len(r.sources)
	r.over = make(chan struct{})
	stop := context.AfterFunc(r.ctx, func() { r.q.Fail(context.Cause(r.ctx)) })
	follow := r.live > 0 && r.sources[0].follow
	var all sync.WaitGroup
	for _, s := range r.sources {
		all.Go(func() { s.run(r.ctx) })
	}
	if follow && r.handle.group != "" {
		r.d.supervise(r.handle)
		all.Go(r.awaitMain)
	}
	r.d.tasks.Go(func() {
		all.Wait()
		stop()
	})
}

// awaitMain tells the sources when the containers that were not started will never be.
func (r *logReader) awaitMain() {
	if _, err := r.d.settle(r.ctx, r.handle.container); err != nil && !errdefs.IsNotFound(err) {
		return
	}
	close(r.over)
	for _, s := range r.sources {
		r.d.hub.poke(s.id, false)
	}
}

func (r *logReader) isOver() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// Next returns the next entry. See [driver.LogReader].
func (r *logReader) Next() (driver.LogEntry, error) {
	for r.err == nil {
		if r.cur != nil {
			if e, ok := r.cur.p.Next(&r.data, r.at); ok {
				e.Container = r.cur.name
				return e, nil
			}
			r.cur = nil
		}
		if r.end != nil {
			if e, ok := r.end.p.Flush(r.end.unfinished); ok {
				e.Container = r.end.name
				return e, nil
			}
			r.end = nil
			if r.live--; r.live == 0 {
				r.err = io.EOF
				break
			}
		}
		it, err := r.q.Pop()
		switch {
		case err != nil:
			r.err = driver.Wrap(r.ctx, "logs", r.handle.String(), classify(err))
		case it.Data != nil:
			r.cur, r.data, r.at = it.Source, it.Data, it.At
		case it.Err == nil:
			r.end = it.Source
		case errors.Is(it.Err, errTurn):
			it.Source.turn <- struct{}{} // until its next item, the parser is the source's
		default:
			r.err = driver.Wrap(r.ctx, "logs", r.handle.String(), classify(it.Err))
		}
	}
	return driver.LogEntry{}, r.err
}

// Cursor returns the place after the entry that Next returned last. See [driver.LogReader].
func (r *logReader) Cursor() driver.Cursor {
	r.places = r.places[:0]
	for _, s := range r.sources {
		r.places = append(r.places, frames.Place{Name: s.name, At: s.p.Positions()})
	}
	return frames.FormatCursor(r.handle.container, r.places)
}

// Close frees the reader. See [driver.LogReader].
func (r *logReader) Close() error {
	r.once.Do(func() {
		r.q.Fail(driver.WithClass(errdefs.ErrFailedPrecondition, "the reader was closed"))
		r.done()
		r.closeSources()
	})
	return nil
}

func (r *logReader) closeSources() {
	for _, s := range r.sources {
		s.drop()
	}
}
