package kubernetes

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// Exec runs a command in a running task. See [driver.Execer].
func (d *Driver) Exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	ctx, done := d.begin(ctx)
	defer done()
	res, err := d.exec(ctx, id, spec)
	return res, driver.Wrap(ctx, "exec", string(id), classify(err))
}

func (d *Driver) exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	if len(spec.Args) == 0 {
		return driver.Result{}, driver.WithClass(errdefs.ErrInvalidArgument, "Args: is empty")
	}
	h, err := d.parse(string(id))
	if err != nil {
		return driver.Result{}, err
	}
	r := wire.Request{Op: wire.OpExec, Box: spec.Container, Args: spec.Args, Dir: spec.Dir, User: spec.User, Stdin: spec.Stdin != nil}
	for _, name := range slices.Sorted(maps.Keys(spec.Env)) {
		r.Env = append(r.Env, name+"="+spec.Env[name])
	}
	c, err := d.callTask(ctx, h, r)
	if err != nil {
		return driver.Result{}, err
	}
	defer c.close()
	if spec.Stdin != nil {
		go func() {
			_, _ = io.CopyBuffer(struct{ io.Writer }{c.Writer(wire.FrameData)}, struct{ io.Reader }{spec.Stdin}, make([]byte, 32<<10))
			_ = c.Write(wire.FrameEnd, nil)
		}()
	}
	a, err := c.answer(func(kind byte, payload []byte) error {
		out := spec.Stdout
		if kind == wire.FrameErr {
			out = spec.Stderr
		}
		if out == nil || kind != wire.FrameOut && kind != wire.FrameErr {
			return nil
		}
		_, err := out.Write(payload)
		return err
	})
	if err != nil {
		return driver.Result{}, err
	}
	if err := ofAnswer(a); err != nil {
		return driver.Result{}, err
	}
	return resultOf(a.Result), nil
}

// Stats returns what a running task uses. See [driver.Statser].
func (d *Driver) Stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	ctx, done := d.begin(ctx)
	defer done()
	u, err := d.stats(ctx, id)
	return u, driver.Wrap(ctx, "stats", string(id), classify(err))
}

func (d *Driver) stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return driver.Usage{}, err
	}
	c, err := d.callTask(ctx, h, wire.Request{Op: wire.OpStats})
	if err != nil {
		return driver.Usage{}, err
	}
	defer c.close()
	a, err := c.answer(nil)
	if err == nil {
		err = ofAnswer(a)
	}
	if err != nil || a.Usage == nil {
		return driver.Usage{}, err
	}
	return driver.Usage(*a.Usage), nil
}
