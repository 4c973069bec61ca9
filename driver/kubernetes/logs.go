package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Logs reads what the containers of a task print. See [driver.Driver].
func (d *Driver) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	ctx, done := d.begin(ctx)
	r, err := d.logs(ctx, id, opts)
	if err != nil {
		err = driver.Wrap(ctx, "logs", string(id), classify(err))
		done()
		return nil, err
	}
	r.release = done
	return r, nil
}

func (d *Driver) logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (*reader, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return nil, err
	}
	from, err := parseCursor(opts.From, h)
	if err != nil {
		return nil, err
	}
	p, err := d.pod(ctx, h)
	if err != nil {
		return nil, err
	}
	plan, err := planOf(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &reader{ctx: ctx, cancel: cancel, h: h, id: string(id), boxes: plan.Boxes, only: opts.Containers, offset: from, batches: make(chan []byte), ended: make(chan struct{})}
	if from > 0 { // a cursor that is none of this task's is told at once
		if _, err := d.ask(ctx, h, wire.Request{Op: wire.OpLogs, From: from}, func(byte, []byte) error { return errEnough }); err != nil && !errors.Is(err, errEnough) {
			cancel(nil)
			return nil, lost(err)
		}
	}
	if from == 0 && !opts.Follow && neverStarted(p) { // its keeper, which could be asked, may have to wait for a node
		p, err = d.podNow(ctx, h)
		switch {
		case err != nil && !unreachable(err): // else the call has more patience
			cancel(nil)
			return nil, err
		case err == nil && neverStarted(p):
			r.err = io.EOF
			close(r.ended)
			return r, nil
		}
	}
	go func() {
		defer close(r.ended)
		r.err = d.feed(ctx, h, opts.Follow, from, r.batches)
	}()
	return r, nil
}

var errEnough = errors.New("enough")

// planOf reads what the keeper was told.
func planOf(p *core.Pod) (plan wire.Plan, err error) {
	for i := range p.Spec.Containers {
		for _, v := range p.Spec.Containers[i].Env {
			if p.Spec.Containers[i].Name == keeper && v.Name == wire.PlanVariable {
				return plan, json.Unmarshal([]byte(strings.ReplaceAll(v.Value, "$$", "$")), &plan)
			}
		}
	}
	return plan, driver.WithClass(errdefs.ErrNotFound, "the pod is none of a task")
}

// feed hands on batches of records until the end, and returns io.EOF then. A connection that breaks is mended inside of the call, which
// goes on behind what was handed on last.
func (d *Driver) feed(ctx context.Context, h handle, follow bool, from int64, batches chan<- []byte) error {
	request := func() wire.Request { return wire.Request{Op: wire.OpLogs, From: from, Follow: follow} }
	a, err := d.askEach(ctx, h, request, func(kind byte, payload []byte) error {
		if kind != wire.FrameLog {
			return nil
		}
		select {
		case batches <- payload:
			from += int64(len(payload))
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	switch {
	case err == nil && a.Class == wire.Interrupted:
		return d.interruptedLog(ctx, h)
	case err == nil:
		return io.EOF
	case errors.Is(err, errKeeperGone):
		return d.lostLog(ctx, h)
	}
	return lost(err)
}

// interruptedLog is how a log ends whose pod was ended from outside after all of it was delivered.
func (d *Driver) interruptedLog(ctx context.Context, h handle) (end error) {
	err := d.until(ctx, h, func(p *core.Pod) (bool, error) {
		switch {
		case p == nil || p.DeletionTimestamp != nil:
			end = errNoTask
		case terminal(p):
			end = io.EOF
		}
		return end != nil, nil
	})
	if err != nil {
		return err
	}
	return end
}

func (d *Driver) lostLog(ctx context.Context, h handle) error {
	if p := d.pods.look(h); p != nil && stopped(p) {
		return io.EOF // nothing was printed
	}
	if err := d.interruptedLog(ctx, h); !errors.Is(err, io.EOF) {
		return err
	}
	return driver.WithClass(errdefs.ErrUnavailable, "the pod has ended, and what it printed is lost")
}

// reader is a [driver.LogReader] over the batches of records that calls bring.
type reader struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	release func()
	h       handle
	id      string
	boxes   []wire.Box
	only    []string
	offset  int64 // behind the last entry
	batches chan []byte
	batch   []byte
	ended   chan struct{}
	err     error // set before ended is closed
	once    sync.Once
}

var errClosedReader = driver.WithClass(errdefs.ErrFailedPrecondition, "the reader was closed")

// Next returns the next entry. See [driver.LogReader].
func (r *reader) Next() (driver.LogEntry, error) {
	for {
		if err := context.Cause(r.ctx); err != nil {
			return driver.LogEntry{}, r.wrap(err)
		}
		if len(r.batch) == 0 {
			if err := r.fill(); err != nil {
				return driver.LogEntry{}, err
			}
		}
		rec, n, err := wire.ParseRecord(r.batch)
		if err != nil || n == 0 || rec.Box >= len(r.boxes) {
			return driver.LogEntry{}, r.wrap(driver.WithClass(errdefs.ErrInternal, "the log is not understood: %v", err))
		}
		r.batch = r.batch[n:]
		r.offset += int64(n)
		name := r.boxes[rec.Box].Name
		if len(r.only) > 0 && !slices.Contains(r.only, name) {
			continue
		}
		e := driver.LogEntry{Time: rec.Time, Container: name, Stream: driver.Stdout, Partial: rec.Partial, Line: rec.Line}
		if rec.Stderr {
			e.Stream = driver.Stderr
		}
		return e, nil
	}
}

func (r *reader) fill() error {
	select {
	case r.batch = <-r.batches:
		return nil
	case <-r.ended:
	case <-r.ctx.Done():
		<-r.ended
		return r.wrap(context.Cause(r.ctx))
	}
	select {
	case r.batch = <-r.batches:
		return nil
	default:
	}
	if errors.Is(r.err, io.EOF) {
		return io.EOF
	}
	return r.wrap(r.err)
}

func (r *reader) wrap(err error) error { return driver.Wrap(r.ctx, "logs", r.id, classify(err)) }

// Close frees the reader. See [driver.LogReader].
func (r *reader) Close() error {
	r.once.Do(func() {
		r.cancel(errClosedReader)
		<-r.ended
		r.release()
	})
	return nil
}

// Cursor returns the place after the last entry: the pod, and the offset in the keeper's file.
func (r *reader) Cursor() driver.Cursor {
	return driver.Cursor(fmt.Sprintf("%s:%d", r.h.uid, r.offset))
}

func parseCursor(c driver.Cursor, h handle) (int64, error) {
	if c == "" {
		return 0, nil
	}
	uid, offset, _ := strings.Cut(string(c), ":")
	n, err := strconv.ParseInt(offset, 10, 64)
	if uid != h.uid || err != nil || n < 0 {
		return 0, driver.WithClass(errdefs.ErrInvalidArgument, "the cursor %.100q is not one of this task", c)
	}
	return n, nil
}
