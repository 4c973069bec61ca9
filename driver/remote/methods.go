package remote

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Arguments of calls that have more than one.
type (
	onTask[T any] struct {
		ID   driver.TaskID
		Opts T
	}
	copying struct {
		Place        driver.Place
		Path         string
		OutsideLinks bool
	}
	command struct {
		Container                    string
		Args                         []string
		Env                          map[string]string
		Dir, User                    string
		HasStdin, WantsOut, WantsErr bool
	}
	pulling struct {
		Image, Platform string
		Policy          driver.PullPolicy
		Credentials     *driver.Credentials
		WantsProgress   bool
	}
)

// none is what a call returns that returns nothing.
type none struct{}

// methods are the calls by name.
var methods = map[string]func(ctx context.Context, c *call) (any, error){
	"Capabilities": plain(func(ctx context.Context, d driver.Driver, _ none) (driver.Capabilities, error) {
		return d.Capabilities(ctx)
	}),
	"Create": plain(func(ctx context.Context, d driver.Driver, a driver.TaskSpec) (driver.TaskID, error) {
		return d.Create(ctx, a)
	}),
	"Start": plain(func(ctx context.Context, d driver.Driver, id driver.TaskID) (none, error) {
		return none{}, d.Start(ctx, id)
	}),
	"Wait": plain(func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
		return d.Wait(ctx, id)
	}),
	"Stop": plain(func(ctx context.Context, d driver.Driver, a onTask[driver.StopOptions]) (none, error) {
		return none{}, d.Stop(ctx, a.ID, a.Opts)
	}),
	"Remove": plain(func(ctx context.Context, d driver.Driver, id driver.TaskID) (none, error) {
		return none{}, d.Remove(ctx, id)
	}),
	"List": plain(func(ctx context.Context, d driver.Driver, a driver.ListOptions) ([]driver.Task, error) {
		return d.List(ctx, a)
	}),
	"CreateVolume": plain(func(ctx context.Context, d driver.Driver, a driver.VolumeSpec) (driver.VolumeID, error) {
		return d.CreateVolume(ctx, a)
	}),
	"RemoveVolume": plain(func(ctx context.Context, d driver.Driver, id driver.VolumeID) (none, error) {
		return none{}, d.RemoveVolume(ctx, id)
	}),
	"ListVolumes": plain(func(ctx context.Context, d driver.Driver, a driver.ListOptions) ([]driver.Volume, error) {
		return d.ListVolumes(ctx, a)
	}),
	"Stats": plain(func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Usage, error) {
		return driver.Stats(ctx, d, id)
	}),
	"CreateSandbox": plain(func(ctx context.Context, d driver.Driver, a driver.SandboxSpec) (driver.SandboxID, error) {
		return driver.CreateSandbox(ctx, d, a)
	}),
	"RemoveSandbox": plain(func(ctx context.Context, d driver.Driver, id driver.SandboxID) (none, error) {
		return none{}, driver.RemoveSandbox(ctx, d, id)
	}),
	"ListSandboxes": plain(func(ctx context.Context, d driver.Driver, a driver.ListOptions) ([]driver.Sandbox, error) {
		return driver.ListSandboxes(ctx, d, a)
	}),
	"Logs": serveLogs, "CopyIn": serveCopyIn, "CopyOut": serveCopyOut, "Exec": serveExec, "Dial": serveDial, "Events": serveEvents, "Pull": servePull,
}

// plain is a call without streams.
func plain[A, R any](f func(ctx context.Context, d driver.Driver, a A) (R, error)) func(context.Context, *call) (any, error) {
	return func(ctx context.Context, c *call) (any, error) {
		a, err := take[A](c)
		if err != nil {
			return nil, err
		}
		return f(ctx, c.d, a)
	}
}

func serveCopyIn(ctx context.Context, c *call) (any, error) {
	a, err := take[copying](c)
	if err != nil {
		return nil, err
	}
	return none{}, c.d.CopyIn(ctx, driver.CopyInOptions{Place: a.Place, Path: a.Path, OutsideLinks: a.OutsideLinks, Tar: &c.inlet})
}

func serveCopyOut(ctx context.Context, c *call) (any, error) {
	a, err := take[copying](c)
	if err != nil {
		return nil, err
	}
	r, err := c.d.CopyOut(ctx, driver.CopyOutOptions{Place: a.Place, Path: a.Path})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := c.answer(none{}, nil); err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(stream{c, nil}, struct{ io.Reader }{r}, make([]byte, chunk)); err != nil {
		return nil, err
	}
	return none{}, nil
}

// stream writes into frames of data that begin with a mark.
type stream struct {
	c    *call
	mark []byte
}

func (s stream) Write(p []byte) (int, error) {
	if err := s.c.send(kindData, s.mark, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func serveExec(ctx context.Context, c *call) (any, error) {
	a, err := take[onTask[command]](c)
	if err != nil {
		return nil, err
	}
	o := a.Opts
	spec := driver.ExecSpec{Container: o.Container, Args: o.Args, Env: o.Env, Dir: o.Dir, User: o.User}
	if o.HasStdin {
		spec.Stdin = &c.inlet
	}
	if o.WantsOut {
		spec.Stdout = stream{c, []byte{byte(driver.Stdout)}}
	}
	if o.WantsErr {
		spec.Stderr = stream{c, []byte{byte(driver.Stderr)}}
	}
	return driver.Exec(ctx, c.d, a.ID, spec)
}

func serveEvents(ctx context.Context, c *call) (any, error) {
	a, err := take[driver.ListOptions](c)
	if err != nil {
		return nil, err
	}
	return none{}, driver.Events(ctx, c.d, a, func(ev driver.Event) error { return c.sendValue(kindItem, ev) })
}

func servePull(ctx context.Context, c *call) (any, error) {
	a, err := take[pulling](c)
	if err != nil {
		return nil, err
	}
	spec := driver.PullSpec{Image: a.Image, Platform: a.Platform, Policy: a.Policy, Credentials: a.Credentials}
	if a.WantsProgress {
		spec.Progress = func(p driver.PullProgress) { _ = c.sendValue(kindItem, p) } // who has gone cancels the pull
	}
	return none{}, driver.Pull(ctx, c.d, spec)
}

// serveDial answers, and then carries what either side sends until both have ended, or the caller has gone.
func serveDial(ctx context.Context, c *call) (any, error) {
	a, err := take[onTask[int]](c)
	if err != nil {
		return nil, err
	}
	nc, err := driver.Dial(ctx, c.d, a.ID, a.Opts)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	copied := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		c.outlet.close()
		if c.inlet.ended() { // a caller that has closed the connection wants all delivered that it has sent
			t := time.NewTimer(parting)
			defer t.Stop()
			select {
			case <-copied:
			case <-t.C:
			}
		}
		nc.Close()
	})()
	if err := c.answer(none{}, nil); err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() { sent <- c.outlet.send(nc) }()
	_, err = io.Copy(nc, &c.inlet)
	if half, ok := nc.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	close(copied)
	if err != nil {
		nc.Close()
	}
	return none{}, errors.Join(<-sent, err)
}
