package podman

import (
	"context"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Start starts a task. See [driver.Driver].
func (d *Driver) Start(ctx context.Context, id driver.TaskID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "start", string(id), classify(d.startTask(ctx, id)))
}

func (d *Driver) startTask(ctx context.Context, id driver.TaskID) error {
	h, err := d.parse(string(id))
	if err != nil {
		return err
	}
	unlock, err := d.starts.Lock(ctx, h.container)
	if err != nil {
		return err
	}
	defer unlock()
	main, err := d.inspect(ctx, h.container)
	if err != nil {
		return err
	}
	if incomplete(main.Name) || main.Config.Labels[labelKind] == kindHolder { // of which a list knows nothing more yet
		return driver.WithClass(errdefs.ErrFailedPrecondition, "the task is not complete: %s", inMaking)
	}
	if phaseOf(main) != phaseCreated {
		return nil // the service would start a container that has ended once more
	}
	d.fresh.Remove(h.container)
	if h.group != "" {
		if mark, err := d.startGroup(ctx, h); mark != 0 || err != nil {
			return d.abandon(ctx, h, mark, err)
		}
	}
	if main.Config.Labels[labelRefused] != "" {
		return d.setMark(ctx, h.container, markRefused, "")
	}
	_, err = d.startOne(ctx, h.container)
	return err
}

// startOne starts a container. It reports false, and no error, if the process could not be started, which it notes
// for whoever waits: Podman keeps no record of that. A start is not abandoned half-way, whatever becomes of ctx.
func (d *Driver) startOne(ctx context.Context, id string) (bool, error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	dctx, cancel := detached(ctx)
	defer cancel()
	err := d.startContainer(dctx, id)
	for try := 0; contested(err) && try < 20; try++ {
		if c, lookErr := d.look(dctx, id); lookErr != nil || !timeOf(c.State.StartedAt).IsZero() {
			return lookErr == nil, lookErr
		}
		err = d.startContainer(dctx, id)
	}
	if err == nil {
		d.hub.poke(id, true)
		return true, nil
	}
	mark := markFailed
	switch {
	case !answered(err) || errdefs.IsNotFound(err):
		return false, err
	case sandboxDown(err):
		mark = markSandbox
	case !startFailure(err):
		return false, err
	}
	if c, lookErr := d.look(dctx, id); lookErr != nil || !timeOf(c.State.StartedAt).IsZero() {
		return lookErr == nil, lookErr
	}
	return false, d.setMark(dctx, id, mark, cut(err.Error(), 4000))
}

// contested reports whether the service refused a start because another process was just starting the same container.
func contested(err error) bool {
	return err != nil && strings.Contains(err.Error(), "container state improper")
}

func (d *Driver) startContainer(ctx context.Context, id string) error {
	unlock, err := d.starts.Lock(ctx, attachKey(id))
	if err != nil {
		return err
	}
	defer unlock()
	d.fresh.Remove(id)
	return d.api.call(ctx, "POST", "/containers/"+id+"/start", nil, nil, nil)
}

// startHolder starts the container that holds a namespace, unless it runs. Several may do so at once.
func (d *Driver) startHolder(ctx context.Context, id string) error {
	err := d.startContainer(ctx, id)
	for try := 0; contested(err) && try < 20; try++ {
		err = d.startContainer(ctx, id)
	}
	return err
}

// holderOf returns the container whose namespace another one joins, or nothing.
func holderOf(c *inspected) string {
	if c.HostConfig == nil {
		return ""
	}
	if id, joins := strings.CutPrefix(c.HostConfig.NetworkMode, "container:"); joins {
		return id
	}
	return ""
}

// cut shortens a text.
func cut(s string, n int) string { return s[:min(n, len(s))] }

// startGroup runs the init containers and starts the services. It goes on where an earlier call
// stopped. A mark other than 0 says why the main container must not be started.
func (d *Driver) startGroup(ctx context.Context, h handle) (mark int, err error) {
	g, err := d.group(ctx, h)
	if err != nil {
		return 0, err
	}
	if g.holder != "" {
		err := d.startHolder(ctx, g.holder)
		if err != nil && answered(err) && !errdefs.IsNotFound(err) {
			err = driver.WithClass(errdefs.ErrUnavailable, "set up the task's network: %v", err)
		}
		if err != nil {
			return 0, err
		}
	}
	d.supervise(h)
	for i, c := range g.inits {
		if mark, err := d.currentMark(ctx, h); mark != 0 || err != nil {
			return mark, err
		}
		ok, err := d.runInit(ctx, c.ID)
		if err != nil {
			return 0, err
		}
		if !ok {
			return markInit + i, nil
		}
	}
	for i, s := range g.services {
		if mark, err := d.currentMark(ctx, h); mark != 0 || err != nil {
			return mark, err
		}
		if mark, err := d.startService(ctx, s, i); mark != 0 || err != nil {
			return mark, err
		}
	}
	for i, s := range g.services {
		if mark, err := d.awaitReady(ctx, s, i); mark != 0 || err != nil {
			return mark, err
		}
	}
	return d.currentMark(ctx, h)
}

// currentMark returns a mark of the main container if someone has set one: Stop, while the task was starting.
func (d *Driver) currentMark(ctx context.Context, h handle) (int, error) {
	main, err := d.inspect(ctx, h.container)
	if err == nil && phaseOf(main) == phaseMarked {
		return main.mark, nil
	}
	return 0, err
}

// abandon notes why the main container is not started, unless it was stopped meanwhile, and
// ends what runs.
func (d *Driver) abandon(ctx context.Context, h handle, mark int, err error) error {
	if err != nil {
		return err
	}
	main, err := d.inspect(ctx, h.container)
	if err != nil {
		return err
	}
	if phaseOf(main) != phaseMarked {
		return d.setMark(ctx, h.container, mark, "")
	}
	return nil
}

// runInit runs an init container to its end and reports whether it succeeded.
func (d *Driver) runInit(ctx context.Context, id string) (bool, error) {
	c, err := d.inspect(ctx, id)
	if err != nil {
		return false, err
	}
	if phaseOf(c) == phaseCreated && c.Config.Labels[labelRefused] == "" && d.hearEnd(ctx, id) {
		if c, err = d.inspect(ctx, id); err != nil { // that took long enough for another process to start it
			return false, err
		}
	}
	if phaseOf(c) == phaseCreated {
		if ok, err := d.startRefusable(ctx, c); !ok || err != nil {
			return false, err
		}
	}
	e, err := d.settle(ctx, id)
	if err != nil {
		return false, err
	}
	return d.result(e).Succeeded(), nil
}

// hearEnd wakes those who wait for the end of a container that was not started yet as soon as its output ends: the events tell of it up to a quarter of
// a second later, where the service reads them from a file. It is a hint only, and gives up without a word; it reports whether it listens. It reads on when ctx has ended: to hang up on a
// container that prints may crash its conmon. Why it looks at the container first is told at attach.
func (d *Driver) hearEnd(ctx context.Context, id string) bool {
	unlock, err := d.starts.Lock(ctx, attachKey(id))
	if err != nil {
		return false
	}
	defer unlock()
	if c, err := d.look(ctx, id); err != nil || phaseOf(c) != phaseCreated {
		return false
	}
	output, err := d.api.hijack(ctx, "/containers/"+id+"/attach", attachQuery, nil)
	if err != nil {
		return false
	}
	stop := context.AfterFunc(d.ctx, func() { _ = output.Close() })
	d.tasks.Go(func() {
		defer output.Close()
		defer stop()
		if _, err := io.Copy(io.Discard, output); err != nil || ctx.Err() != nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second) // one that has closed its output may run on
		defer cancel()
		if d.api.call(ctx, "POST", "/containers/"+id+"/wait", url.Values{"interval": {"10ms"}}, nil, nil) == nil {
			d.hub.poke(id, false)
		}
	})
	return true
}

// startRefusable starts a container, unless its label says that it must not be.
func (d *Driver) startRefusable(ctx context.Context, c *inspected) (bool, error) {
	if c.Config.Labels[labelRefused] != "" {
		return false, d.setMark(ctx, c.ID, markRefused, "")
	}
	return d.startOne(ctx, c.ID)
}

func (d *Driver) startService(ctx context.Context, s listed, i int) (mark int, err error) {
	c, err := d.inspect(ctx, s.ID)
	if err != nil || phaseOf(c) == phaseRunning {
		return 0, err
	}
	if phaseOf(c) == phaseCreated {
		ok, err := d.startRefusable(ctx, c)
		if ok || err != nil {
			return 0, err
		}
	}
	return markDied + i, nil
}

// removeContainer kills and removes a container with the volumes that its image declared. One that is not there is no error.
func (d *Driver) removeContainer(ctx context.Context, id string) error {
	d.fresh.Remove(id)
	q := url.Values{"force": {"true"}, "v": {"true"}, "timeout": {"0"}}
	var err error
	for range 5 {
		err = d.removed(ctx, id, d.api.call(ctx, "DELETE", "/containers/"+id, q, nil, nil))
		if err == nil || !endedMeanwhile(err) {
			return err
		}
		if waitErr := d.awaitExit(ctx, id); waitErr != nil {
			return waitErr
		}
	}
	return err
}
