package kubernetes

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// CopyIn unpacks a tar stream. See [driver.Driver].
func (d *Driver) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "copy in", subject(opts.Place, opts.Path), classify(d.copyIn(ctx, opts)))
}

func subject(p driver.Place, path string) string {
	return string(p.Task) + string(p.Volume) + ":" + path
}

func (d *Driver) copyIn(ctx context.Context, opts driver.CopyInOptions) error {
	if err := opts.Place.Validate(opts.Path); err != nil {
		return err
	}
	c, leave, err := d.callPlace(ctx, opts.Place, wire.Request{Op: wire.OpCopyIn, Path: opts.Path})
	if err != nil {
		return err
	}
	defer leave()
	defer c.close()
	if err := c.understood(); err != nil {
		return err
	}
	answers := make(chan error, 1)
	safe := driver.SafeTar(opts.Tar, opts.OutsideLinks)
	defer safe.Close()
	defer context.AfterFunc(ctx, func() { _ = safe.Close() })()
	go func() {
		a, err := c.answer(nil)
		if err == nil {
			err = ofAnswer(a)
		}
		answers <- err
		safe.Close() // what refused the stream wants no more of it
	}()
	_, err = io.CopyBuffer(struct{ io.Writer }{c.Writer(wire.FrameData)}, struct{ io.Reader }{safe}, make([]byte, 128<<10))
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		c.close()
		<-answers
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	if err == nil {
		err = c.Write(wire.FrameEnd, nil)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if said := <-answers; said != nil {
		return said
	}
	return err
}

// understood waits for the frame that says that the call was understood.
func (c *call) understood() error {
	a, err := c.answer(func(kind byte, _ []byte) error {
		if kind == wire.FrameReady {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err != nil:
		return err
	case a.Error != "":
		return ofAnswer(a)
	}
	return driver.WithClass(errdefs.ErrInternal, "the helper's answer came too early")
}

// callPlace calls the keeper of a task, or of a pod made for a volume, which leave removes.
func (d *Driver) callPlace(ctx context.Context, p driver.Place, r wire.Request) (c *call, leave func(), err error) {
	if p.Volume != "" {
		return d.callVolume(ctx, p.Volume, r)
	}
	h, err := d.parse(string(p.Task))
	if err != nil {
		return nil, nil, err
	}
	c, err = d.callTask(ctx, h, r)
	return c, func() {}, err
}

// callTask calls the keeper of a task whose pod is there. It is patient with the pod's node: nothing has been sent yet.
func (d *Driver) callTask(ctx context.Context, h handle, r wire.Request) (*call, error) {
	p, err := d.pod(ctx, h)
	if err != nil {
		return nil, err
	}
	if keeperEnded(p) {
		return nil, lost(errKeeperGone)
	}
	if !keeperRuns(p) {
		if err := d.reachable(ctx, h); err != nil {
			return nil, lost(err)
		}
	}
	var b backoff
	for t := d.tries(); ; {
		c, err := d.call(ctx, h.name, r)
		var away *nodeError
		if !errors.As(err, &away) {
			return c, err
		}
		switch p := d.pods.look(h); {
		case p == nil:
			return nil, lost(errGone)
		case keeperEnded(p):
			return nil, lost(errKeeperGone)
		}
		if err := t.failed(err); err != nil {
			return nil, err
		}
		if !b.wait(ctx) {
			return nil, context.Cause(ctx)
		}
	}
}

// CopyOut returns a file or directory as a tar stream. See [driver.Driver].
func (d *Driver) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	ctx, done := d.begin(ctx)
	s, err := d.copyOut(ctx, opts)
	if err != nil {
		err = driver.Wrap(ctx, "copy out", subject(opts.Place, opts.Path), classify(err))
		done()
		return nil, err
	}
	s.done = done
	return s, nil
}

func (d *Driver) copyOut(ctx context.Context, opts driver.CopyOutOptions) (*outStream, error) {
	if err := opts.Place.Validate(opts.Path); err != nil {
		return nil, err
	}
	c, leave, err := d.callPlace(ctx, opts.Place, wire.Request{Op: wire.OpCopyOut, Path: opts.Path})
	if err != nil {
		return nil, err
	}
	if err := c.understood(); err != nil {
		c.close()
		leave()
		return nil, err
	}
	return &outStream{ctx: ctx, subject: subject(opts.Place, opts.Path), call: c, leave: leave}, nil
}

// outStream reads the data of a call.
type outStream struct {
	ctx     context.Context
	subject string
	call    *call
	leave   func()
	done    func()
	rest    []byte
	err     error
}

func (s *outStream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 && s.err == nil {
		a, err := s.call.answer(func(kind byte, payload []byte) error {
			if kind == wire.FrameData {
				s.rest = payload
				return errEnough
			}
			return nil
		})
		switch {
		case errors.Is(err, errEnough):
		case err != nil:
			s.err = driver.Wrap(s.ctx, "copy out", s.subject, classify(err))
		case a.Error != "":
			s.err = driver.Wrap(s.ctx, "copy out", s.subject, ofAnswer(a))
		default:
			s.err = io.EOF
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, s.err
	}
	return n, nil
}

func (s *outStream) Close() error {
	if s.done == nil {
		return nil
	}
	s.call.close()
	s.leave()
	s.done()
	s.done = nil
	return nil
}
