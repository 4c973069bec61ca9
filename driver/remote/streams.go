package remote

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// CopyIn unpacks a tar stream. See [driver.Driver].
func (d *Driver) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	w, err := d.begin(ctx, "CopyIn", copying{opts.Place, opts.Path, opts.OutsideLinks})
	if err == nil {
		defer w.Close()
		out := newOutlet(w)
		sent := make(chan struct{})
		go func() { defer close(sent); _ = out.send(opts.Tar) }()
		_, err = finish[none](ctx, d, w, out.frame)
		out.close()
		if why := out.readError(); err != nil && why != nil {
			err = errors.Join(why, err)
		}
		t := time.NewTimer(readerTime)
		defer t.Stop()
		select {
		case <-sent:
		case <-ctx.Done():
		case <-d.ctx.Done():
		case <-t.C:
		}
	}
	return driver.Wrap(ctx, "copy in", opts.Path, err)
}

// readerTime is how long a call waits for its stream's reader, which nobody else should use meanwhile, when it needs no more of it. One that never returns is left.
const readerTime = time.Second

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
	if err := ctx.Err(); err != nil {
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
	s := &subscription{d: d, opts: opts, f: f, known: map[driver.TaskID]bool{}}
	again := false
	err := d.patiently(ctx, func() error {
		if again { // what was removed while nobody told it
			if err := s.compare(ctx); err != nil || s.refused != nil {
				return err
			}
			defer s.compareLater(ctx)() // what was removed before the events began
		}
		again = true
		return s.follow(ctx)
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.refused != nil:
		return s.refused
	}
	return driver.Wrap(ctx, "events", "", err)
}

// compareAgain is how long after events have begun again they are certain to be told.
const compareAgain = 3 * time.Second

// subscription is a call of Events, over several connections if need be.
type subscription struct {
	d       *Driver
	opts    driver.ListOptions
	f       func(driver.Event) error
	mu      sync.Mutex
	known   map[driver.TaskID]bool
	refused error // by f
}

// compareLater compares once more after some time. The function that it returns ends that, and waits for it.
func (s *subscription) compareLater(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTimer(compareAgain)
		defer t.Stop()
		select {
		case <-t.C:
			_ = s.compare(ctx)
		case <-ctx.Done():
		}
	}()
	return func() { cancel(); <-done }
}

// follow tells what one connection tells.
func (s *subscription) follow(ctx context.Context) error {
	w, err := s.d.begin(ctx, "Events", s.opts)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = finish[none](ctx, s.d, w, func(_ kind, payload []byte) error {
		var ev driver.Event
		if err := decoding.Unmarshal(payload, &ev); err != nil {
			return err
		}
		return s.tell(ev)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused != nil {
		return nil // which is no fault of the connection, whatever it holds
	}
	return err
}

func (s *subscription) tell(ev driver.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.known[ev.Task] = true
		if ev.Removed {
			delete(s.known, ev.Task)
		}
		s.refused = s.f(ev)
	}
	return s.refused
}

// compare tells which of the known tasks are not there any more.
func (s *subscription) compare(ctx context.Context) error {
	s.mu.Lock()
	before := maps.Clone(s.known)
	s.mu.Unlock()
	there, err := attempt[[]driver.Task](ctx, s.d, "List", s.opts)
	if err != nil {
		return err
	}
	for _, t := range there {
		delete(before, t.ID)
	}
	for id := range before {
		if s.tellGone(ctx, id) != nil {
			return nil
		}
	}
	return nil
}

// tellGone tells that a task was removed, unless the events have told so meanwhile.
func (s *subscription) tellGone(ctx context.Context, id driver.TaskID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.refused == nil && s.known[id] {
		delete(s.known, id)
		s.refused = s.f(driver.Event{Task: id, State: driver.StateEnded, Removed: true, Time: time.Now()})
	}
	return s.refused
}
