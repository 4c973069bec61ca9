package drivertest_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// hooks is a driver that does wrong what a hook says, and everything else right. Hooks get the right driver.
type hooks struct {
	driver.Driver
	create       func(context.Context, driver.Driver, driver.TaskSpec) (driver.TaskID, error)
	start        func(context.Context, driver.Driver, driver.TaskID) error
	logs         func(context.Context, driver.Driver, driver.TaskID, driver.LogOptions) (driver.LogReader, error)
	wait         func(context.Context, driver.Driver, driver.TaskID) (driver.Result, error)
	stop         func(context.Context, driver.Driver, driver.TaskID, driver.StopOptions) error
	remove       func(context.Context, driver.Driver, driver.TaskID) error
	list         func(context.Context, driver.Driver, driver.ListOptions) ([]driver.Task, error)
	copyIn       func(context.Context, driver.Driver, driver.CopyInOptions) error
	copyOut      func(context.Context, driver.Driver, driver.CopyOutOptions) (io.ReadCloser, error)
	createVolume func(context.Context, driver.Driver, driver.VolumeSpec) (driver.VolumeID, error)
	removeVolume func(context.Context, driver.Driver, driver.VolumeID) error
	listVolumes  func(context.Context, driver.Driver, driver.ListOptions) ([]driver.Volume, error)
	capabilities func(*driver.Capabilities)
	close        func(driver.Driver) error
}

func (h *hooks) Unwrap() driver.Driver { return h.Driver }

func (h *hooks) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	if h.create != nil {
		return h.create(ctx, h.Driver, spec)
	}
	return h.Driver.Create(ctx, spec)
}

func (h *hooks) Start(ctx context.Context, id driver.TaskID) error {
	if h.start != nil {
		return h.start(ctx, h.Driver, id)
	}
	return h.Driver.Start(ctx, id)
}

func (h *hooks) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	if h.logs != nil {
		return h.logs(ctx, h.Driver, id, opts)
	}
	return h.Driver.Logs(ctx, id, opts)
}

func (h *hooks) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	if h.wait != nil {
		return h.wait(ctx, h.Driver, id)
	}
	return h.Driver.Wait(ctx, id)
}

func (h *hooks) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	if h.stop != nil {
		return h.stop(ctx, h.Driver, id, opts)
	}
	return h.Driver.Stop(ctx, id, opts)
}

func (h *hooks) Remove(ctx context.Context, id driver.TaskID) error {
	if h.remove != nil {
		return h.remove(ctx, h.Driver, id)
	}
	return h.Driver.Remove(ctx, id)
}

func (h *hooks) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	if h.list != nil {
		return h.list(ctx, h.Driver, opts)
	}
	return h.Driver.List(ctx, opts)
}

func (h *hooks) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	if h.copyIn != nil {
		return h.copyIn(ctx, h.Driver, opts)
	}
	return h.Driver.CopyIn(ctx, opts)
}

func (h *hooks) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	if h.copyOut != nil {
		return h.copyOut(ctx, h.Driver, opts)
	}
	return h.Driver.CopyOut(ctx, opts)
}

func (h *hooks) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	if h.createVolume != nil {
		return h.createVolume(ctx, h.Driver, spec)
	}
	return h.Driver.CreateVolume(ctx, spec)
}

func (h *hooks) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	if h.removeVolume != nil {
		return h.removeVolume(ctx, h.Driver, id)
	}
	return h.Driver.RemoveVolume(ctx, id)
}

func (h *hooks) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	if h.listVolumes != nil {
		return h.listVolumes(ctx, h.Driver, opts)
	}
	return h.Driver.ListVolumes(ctx, opts)
}

func (h *hooks) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	caps, err := h.Driver.Capabilities(ctx)
	if h.capabilities != nil {
		h.capabilities(&caps)
	}
	return caps, err
}

func (h *hooks) Close() error {
	if h.close != nil {
		return h.close(h.Driver)
	}
	return h.Driver.Close()
}

// breakage makes a harness of a driver that violates a rule.
type breakage func(*drivertest.Harness)

// with breaks every driver value of a harness in the same way.
func with(hook func(*hooks)) breakage {
	return func(h *drivertest.Harness) {
		open := h.Open
		h.Open = func(ctx context.Context, owner string) (driver.Driver, error) {
			d, err := open(ctx, owner)
			if err != nil {
				return nil, err
			}
			b := &hooks{Driver: d}
			hook(b)
			return b, nil
		}
	}
}

// hurried makes a case give up soon: for breakages that make it wait for what does not come.
func hurried(b breakage) breakage {
	return func(h *drivertest.Harness) {
		b(h)
		h.Slow = 0.01
	}
}

// result changes what Wait returns.
func result(change func(*driver.Result)) breakage {
	return with(func(h *hooks) {
		h.wait = func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
			res, err := d.Wait(ctx, id)
			change(&res)
			return res, err
		}
	})
}

func outcome(o driver.Outcome, code, signal int) breakage {
	return result(func(r *driver.Result) { r.Outcome, r.Code, r.Signal = o, code, signal })
}

// spec changes what Create is given.
func spec(change func(*driver.TaskSpec)) breakage {
	return with(func(h *hooks) {
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			change(&s)
			return d.Create(ctx, s)
		}
	})
}

func mainContainer(change func(*driver.Container)) breakage {
	return spec(func(s *driver.TaskSpec) { change(&s.Container) })
}

func claims(change func(*driver.Capabilities)) breakage {
	return with(func(h *hooks) { h.capabilities = change })
}

// entries changes what a log delivers: change gets the number of the entry, and returns false to drop it.
func entries(change func(n int, e *driver.LogEntry) bool) breakage {
	return with(func(h *hooks) {
		h.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
			r, err := d.Logs(ctx, id, opts)
			if err != nil {
				return nil, err
			}
			return &reader{LogReader: r, change: change}, nil
		}
	})
}

type reader struct {
	driver.LogReader
	n      int
	change func(n int, e *driver.LogEntry) bool
}

func (r *reader) Next() (driver.LogEntry, error) {
	for {
		e, err := r.LogReader.Next()
		if err != nil {
			return e, err
		}
		keep := r.change(r.n, &e)
		if r.n++; keep {
			return e, nil
		}
	}
}

// dropEntry loses one entry of each log.
func dropEntry(i int) breakage {
	return entries(func(n int, _ *driver.LogEntry) bool { return n != i })
}

func dropLine(text string) breakage {
	return entries(func(_ int, e *driver.LogEntry) bool { return string(e.Line) != text })
}

// logOptions changes what Logs is given.
func logOptions(change func(*driver.LogOptions)) breakage {
	return with(func(h *hooks) {
		h.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
			change(&opts)
			return d.Logs(ctx, id, opts)
		}
	})
}

// emptyLog is a log that ends at once.
type emptyLog struct{}

func (emptyLog) Next() (driver.LogEntry, error) { return driver.LogEntry{}, io.EOF }
func (emptyLog) Cursor() driver.Cursor          { return "" }
func (emptyLog) Close() error                   { return nil }

// inwards changes the entries of a stream on its way in.
func inwards(change func(*tar.Header) bool) breakage {
	return with(func(h *hooks) {
		h.copyIn = func(ctx context.Context, d driver.Driver, opts driver.CopyInOptions) error {
			opts.Tar = retar(opts.Tar, change)
			return d.CopyIn(ctx, opts)
		}
	})
}

// outwards changes the entries of a stream on its way out.
func outwards(change func(*tar.Header) bool) breakage {
	return with(func(h *hooks) {
		h.copyOut = func(ctx context.Context, d driver.Driver, opts driver.CopyOutOptions) (io.ReadCloser, error) {
			r, err := d.CopyOut(ctx, opts)
			if err != nil {
				return nil, err
			}
			return retar(r, change), nil
		}
	})
}

func retar(r io.Reader, change func(*tar.Header) bool) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() {
		in, out := tar.NewReader(r), tar.NewWriter(pw)
		for {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				pw.CloseWithError(out.Close())
				return
			}
			if err == nil && change(h) {
				h.Format = tar.FormatUnknown
				if err = out.WriteHeader(h); err == nil && h.Typeflag == tar.TypeReg {
					_, err = io.Copy(out, in)
				}
			}
			if err != nil {
				pw.CloseWithError(err)
				return
			}
		}
	}()
	return pr
}

// flip changes one byte of a stream.
type flip struct {
	io.Reader
	io.Closer
	at int64
}

func (f *flip) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if f.at >= 0 && f.at < int64(n) {
		p[f.at] ^= 1
	}
	f.at -= int64(n)
	return n, err
}

// counter numbers calls from 1.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}
