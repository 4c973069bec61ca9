package remote

import (
	"context"
	"errors"
	"io"
	"maps"
	"time"

	"github.com/wharfci/wharf/driver"
)

// CopyIn unpacks a tar stream. See [driver.Driver].
func (d *Driver) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	w, err := d.begin(ctx, "CopyIn", copying{opts.Place, opts.Path, opts.OutsideLinks})
	if err == nil {
		defer w.Close()
		out := newOutlet(w)
		sent := make(chan error, 1)
		go func() { sent <- out.send(opts.Tar) }()
		_, err = finish[none](ctx, d, w, out.frame)
		out.close()
		if err == nil {
			err = <-sent
		} else {
			err = unread(err, sent)
		}
	}
	return driver.Wrap(ctx, "copy in", opts.Path, err)
}

// unread adds why the caller's stream could not be read, if that is so. A reader that is waited for may never return, and is left.
func unread(err error, sent <-chan error) error {
	select {
	case why := <-sent:
		if why != nil {
			return errors.Join(why, err)
		}
	default:
	}
	return err
}

// frame takes what the server says of the stream.
func (o *outlet) frame(k kind, payload []byte) error {
	if k == kindTaken {
		o.taken(payload)
	}
	return nil
}

// CopyOut returns a tar stream. See [driver.Driver].
func (d *Driver) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	w, err := d.open(ctx, "CopyOut", copying{Place: opts.Place, Path: opts.Path})
	if err != nil {
		return nil, driver.Wrap(ctx, "copy out", opts.Path, err)
	}
	return &download{d: d, w: w, ctx: ctx, path: opts.Path, stop: context.AfterFunc(ctx, func() { w.Close() })}, nil
}

// open makes a call that is answered at once, and then goes on on its connection.
func (d *Driver) open(ctx context.Context, method string, args any) (*wire, error) {
	w, err := d.begin(ctx, method, args)
	if err != nil {
		return nil, err
	}
	if _, err := finish[none](ctx, d, w, nil); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// download is a stream from the server.
type download struct {
	d    *Driver
	w    *wire
	ctx  context.Context
	path string
	stop func() bool
	rest []byte
	err  error
}

func (r *download) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		k, payload, err := r.w.receive()
		switch {
		case err != nil:
			r.err = r.d.fault(err)
		case k == kindData:
			r.rest = payload
		case k == kindAnswer:
			if r.err = decode(payload, nil); r.err == nil {
				r.err = io.EOF
			}
		}
		if r.err != nil && r.err != io.EOF {
			r.err = driver.Wrap(r.ctx, "copy out", r.path, r.err)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

func (r *download) Close() error {
	r.stop()
	r.w.Close()
	return nil
}

// Exec runs a command. See [driver.Execer].
func (d *Driver) Exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	args := command{spec.Container, spec.Args, spec.Env, spec.Dir, spec.User, spec.Stdin != nil, spec.Stdout != nil, spec.Stderr != nil}
	w, err := d.begin(ctx, "Exec", onTask[command]{id, args})
	var res driver.Result
	if err == nil {
		defer w.Close()
		out := newOutlet(w)
		defer out.close()
		if spec.Stdin != nil {
			go out.send(spec.Stdin) // how it ended the command shows
		}
		to := map[driver.Stream]io.Writer{driver.Stdout: spec.Stdout, driver.Stderr: spec.Stderr}
		res, err = finish[driver.Result](ctx, d, w, func(k kind, payload []byte) error {
			if k != kindData || len(payload) == 0 {
				return out.frame(k, payload)
			}
			if w := to[driver.Stream(payload[0])]; w != nil {
				_, err := w.Write(payload[1:])
				return err
			}
			return nil
		})
	}
	return res, driver.Wrap(ctx, "exec", string(id), err)
}

// Events tells of changes. See [driver.Eventer].
func (d *Driver) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	known := map[driver.TaskID]bool{}
	lost := false
	err := d.patiently(ctx, func() error {
		if lost { // what was removed while nobody told it
			tasks, err := attempt[[]driver.Task](ctx, d, "List", opts)
			if err != nil {
				return err
			}
			if err := gone(known, tasks, f); err != nil {
				return err
			}
		}
		lost = true
		w, err := d.begin(ctx, "Events", opts)
		if err != nil {
			return err
		}
		defer w.Close()
		_, err = finish[none](ctx, d, w, func(_ kind, payload []byte) error {
			var ev driver.Event
			if err := decoding.Unmarshal(payload, &ev); err != nil {
				return err
			}
			known[ev.Task] = true
			if ev.Removed {
				delete(known, ev.Task)
			}
			return f(ev)
		})
		return err
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// gone tells that tasks were removed.
func gone(known map[driver.TaskID]bool, there []driver.Task, f func(driver.Event) error) error {
	left := maps.Clone(known)
	for _, t := range there {
		delete(left, t.ID)
	}
	for id := range left {
		delete(known, id)
		if err := f(driver.Event{Task: id, State: driver.StateEnded, Removed: true, Time: time.Now()}); err != nil {
			return err
		}
	}
	return nil
}
