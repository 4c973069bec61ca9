package drivertest

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// stubborn is a driver whose caller does again what returned Unavailable.
type stubborn struct {
	driver.Driver
	cutter *cutter
	closed atomic.Bool

	mu   sync.Mutex
	made map[string]bool // handles that were returned
}

func (s *stubborn) Unwrap() driver.Driver { return s.Driver }

// tries is how often a call is made. It may meet every cut twice: when it is under way, and when a connection is made that the cut has hit.
const tries = 2*cuts + 2

// again calls f until it returns something other than Unavailable.
func (s *stubborn) again(ctx context.Context, f func() error) error {
	var err error
	for range tries {
		if err = f(); !errdefs.IsUnavailable(err) || ctx.Err() != nil || s.closed.Load() {
			return err
		}
		s.cutter.restored(ctx)
	}
	return err
}

func (s *stubborn) know(handle string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[handle] = true
}

func (s *stubborn) known(handle string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[handle]
}

// Create is not to be repeated blindly: what was made by a call whose answer was lost has the name.
func (s *stubborn) Create(ctx context.Context, spec driver.TaskSpec) (id driver.TaskID, err error) {
	unsure := false
	err = s.again(ctx, func() error {
		id, err = s.Driver.Create(ctx, spec)
		if unsure && errdefs.IsAlreadyExists(err) && s.forget(ctx, spec.Name) {
			id, err = s.Driver.Create(ctx, spec)
		}
		unsure = unsure || errdefs.IsUnavailable(err)
		return err
	})
	if err == nil {
		s.know(string(id))
	}
	return id, err
}

// forget removes a task of that name if nobody was told its handle.
func (s *stubborn) forget(ctx context.Context, name string) bool {
	tasks, err := s.List(ctx, driver.ListOptions{})
	if err != nil {
		return false
	}
	for _, t := range tasks {
		if t.Name == name && !s.known(string(t.ID)) {
			return s.again(ctx, func() error { return s.Driver.Remove(ctx, t.ID) }) == nil
		}
	}
	return false
}

func (s *stubborn) Start(ctx context.Context, id driver.TaskID) error {
	return s.again(ctx, func() error { return s.Driver.Start(ctx, id) })
}

func (s *stubborn) Wait(ctx context.Context, id driver.TaskID) (res driver.Result, err error) {
	err = s.again(ctx, func() error { res, err = s.Driver.Wait(ctx, id); return err })
	return res, err
}

func (s *stubborn) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	return s.again(ctx, func() error { return s.Driver.Stop(ctx, id, opts) })
}

func (s *stubborn) Remove(ctx context.Context, id driver.TaskID) error {
	return s.again(ctx, func() error { return s.Driver.Remove(ctx, id) })
}

func (s *stubborn) List(ctx context.Context, opts driver.ListOptions) (tasks []driver.Task, err error) {
	err = s.again(ctx, func() error { tasks, err = s.Driver.List(ctx, opts); return err })
	return tasks, err
}

func (s *stubborn) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	stream, err := io.ReadAll(opts.Tar)
	if err != nil {
		return err
	}
	return s.again(ctx, func() error {
		opts.Tar = bytes.NewReader(stream)
		return s.Driver.CopyIn(ctx, opts)
	})
}

// CopyOut reads the whole stream, for only then is it known to be whole.
func (s *stubborn) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	var stream []byte
	err := s.again(ctx, func() error {
		r, err := s.Driver.CopyOut(ctx, opts)
		if err != nil {
			return err
		}
		defer r.Close()
		stream, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(stream)), nil
}

func (s *stubborn) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (id driver.VolumeID, err error) {
	unsure := false
	err = s.again(ctx, func() error {
		id, err = s.Driver.CreateVolume(ctx, spec)
		if unsure && errdefs.IsAlreadyExists(err) {
			volumes, lerr := s.ListVolumes(ctx, driver.ListOptions{})
			for _, v := range volumes {
				if v.Name == spec.Name && lerr == nil && !s.known(string(v.ID)) {
					id, err = v.ID, nil
				}
			}
		}
		unsure = unsure || errdefs.IsUnavailable(err)
		return err
	})
	if err == nil {
		s.know(string(id))
	}
	return id, err
}

func (s *stubborn) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	return s.again(ctx, func() error { return s.Driver.RemoveVolume(ctx, id) })
}

func (s *stubborn) ListVolumes(ctx context.Context, opts driver.ListOptions) (volumes []driver.Volume, err error) {
	err = s.again(ctx, func() error { volumes, err = s.Driver.ListVolumes(ctx, opts); return err })
	return volumes, err
}

func (s *stubborn) Capabilities(ctx context.Context) (caps driver.Capabilities, err error) {
	err = s.again(ctx, func() error { caps, err = s.Driver.Capabilities(ctx); return err })
	return caps, err
}

func (s *stubborn) Close() error {
	s.closed.Store(true)
	return s.Driver.Close()
}

func (s *stubborn) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	r := &stubbornReader{s: s, ctx: ctx, id: id, opts: opts}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// stubbornReader goes on from the cursor when its connection broke.
type stubbornReader struct {
	s    *stubborn
	ctx  context.Context
	id   driver.TaskID
	opts driver.LogOptions

	mu     sync.Mutex
	r      driver.LogReader
	closed bool
}

func (r *stubbornReader) open() error {
	return r.s.again(r.ctx, func() error {
		inner, err := r.s.Driver.Logs(r.ctx, r.id, r.opts)
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.r = inner; r.closed {
			return inner.Close()
		}
		return nil
	})
}

func (r *stubbornReader) Next() (entry driver.LogEntry, err error) {
	for range tries {
		entry, err = r.r.Next()
		r.mu.Lock()
		closed := r.closed
		r.mu.Unlock()
		if !errdefs.IsUnavailable(err) || closed || r.s.closed.Load() || r.ctx.Err() != nil {
			return entry, err
		}
		if at := r.r.Cursor(); at != "" {
			r.opts.From = at
		}
		r.r.Close()
		r.s.cutter.restored(r.ctx)
		if err := r.open(); err != nil {
			return entry, err
		}
	}
	return entry, err
}

func (r *stubbornReader) Cursor() driver.Cursor {
	if at := r.r.Cursor(); at != "" {
		return at
	}
	return r.opts.From
}

func (r *stubbornReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.r.Close()
}
