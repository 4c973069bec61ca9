package fake

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

func notRunning() error {
	return driver.WithClass(errdefs.ErrFailedPrecondition, "the container does not run")
}

// Exec runs a command in a running task; see [driver.Execer].
func (d *Driver) Exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	res, err := d.exec(ctx, id, spec)
	return res, driver.Wrap(ctx, "exec", string(id), err)
}

func (d *Driver) exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	if err := d.begin(ctx, "exec"); err != nil {
		return driver.Result{}, err
	}
	t, err := d.task(id)
	if err != nil {
		return driver.Result{}, err
	}
	b := t.box(spec.Container)
	if b == nil {
		return driver.Result{}, driver.WithClass(errdefs.ErrNotFound, "the task has no container %q", spec.Container)
	}
	if !b.runs() {
		return driver.Result{}, notRunning()
	}
	user := cmp.Or(spec.User, b.spec.User)
	p, err := b.process(spec.Args, spec.Env, cmp.Or(spec.Dir, b.spec.Dir), user)
	began := d.rt.now()
	if err != nil {
		return driver.Result{Outcome: driver.StartFailed, Reason: err.Error(), Ended: began}, nil
	}
	p.stdin, p.stdout, p.stderr = spec.Stdin, sinkTo(p, spec.Stdout), sinkTo(p, spec.Stderr)
	p.launch()
	if err := d.until(ctx, p.done, nil); err != nil {
		p.signal(9)
		return driver.Result{}, err
	}
	res := driver.Result{Outcome: driver.Exited, Code: p.exit.code, Started: began, Ended: d.rt.now()}
	if p.exit.signal != 0 {
		res.Outcome, res.Code, res.Signal = driver.Signaled, p.exit.shell(), p.exit.signal
	}
	return res, nil
}

func sinkTo(p *Proc, w io.Writer) *sink {
	return &sink{p, func(text []byte) error {
		if w == nil {
			return nil
		}
		_, err := w.Write(text)
		return err
	}}
}

// runs reports whether the main process of the container runs.
func (b *box) runs() bool {
	b.mu.Lock()
	main := b.main
	b.mu.Unlock()
	if main == nil {
		return false
	}
	select {
	case <-main.done:
		return false
	default:
		return true
	}
}

// Dial connects to a port inside of a task; see [driver.Dialer].
func (d *Driver) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	c, err := d.dial(ctx, id, port)
	if err != nil {
		return nil, driver.Wrap(ctx, "dial", fmt.Sprintf("%s:%d", id, port), err)
	}
	return c, nil
}

func (d *Driver) dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	if err := d.begin(ctx, "dial"); err != nil {
		return nil, err
	}
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	if !t.isRunning() {
		return nil, notRunning()
	}
	c, err := t.net.dial(ctx, port, true)
	if err != nil && ctx.Err() == nil {
		err = driver.WithClass(errdefs.ErrUnavailable, "%v", err)
	}
	return c, err
}

// Pull fetches an image; see [driver.Puller].
func (d *Driver) Pull(ctx context.Context, spec driver.PullSpec) error {
	return driver.Wrap(ctx, "pull", spec.Image, d.pull(ctx, spec))
}

func (d *Driver) pull(ctx context.Context, spec driver.PullSpec) error {
	if spec.Platform != "" {
		return driver.Unsupported("Platform")
	}
	if err := d.begin(ctx, "pull"); err != nil {
		return err
	}
	img, err := d.rt.image(ctx, spec)
	if err == nil && spec.Progress != nil {
		spec.Progress(driver.PullProgress{Done: img.Size, Total: img.Size, Status: "complete"})
	}
	return err
}

// Stats measures a task; see [driver.Statser].
func (d *Driver) Stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	u, err := d.stats(ctx, id)
	return u, driver.Wrap(ctx, "stats", string(id), err)
}

func (d *Driver) stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	if err := d.begin(ctx, "stats"); err != nil {
		return driver.Usage{}, err
	}
	t, err := d.task(id)
	if err != nil {
		return driver.Usage{}, err
	}
	if !t.isRunning() {
		return driver.Usage{}, notRunning()
	}
	var u driver.Usage
	for _, b := range t.boxes() {
		b.mu.Lock()
		u.Memory += b.eaten
		u.PIDs += int64(len(b.procs))
		b.mu.Unlock()
	}
	return u, nil
}

type sandbox struct {
	id      driver.SandboxID
	owner   string
	spec    driver.SandboxSpec
	created time.Time
	net     *network
}

// CreateSandbox makes a network namespace; see [driver.Sandboxer].
func (d *Driver) CreateSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	id, err := d.createSandbox(ctx, spec)
	return id, driver.Wrap(ctx, "create sandbox", spec.Name, err)
}

func (d *Driver) createSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	probe := driver.TaskSpec{Name: spec.Name, Labels: spec.Labels, Network: spec.Network, Container: driver.Container{Image: "x"}}
	if err := probe.Validate(); err != nil {
		return "", err
	}
	if err := d.supported(probe); err != nil {
		return "", err
	}
	if err := d.begin(ctx, "create sandbox"); err != nil {
		return "", err
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	for _, s := range d.rt.sandboxes {
		if s.owner == d.owner && s.spec.Name == spec.Name {
			return "", driver.WithClass(errdefs.ErrAlreadyExists, "the name is in use by sandbox %s", s.id)
		}
	}
	number := d.rt.handle()
	s := &sandbox{
		id:    driver.SandboxID(fmt.Sprintf("sandbox-%d-%s", number, spec.Name)),
		owner: d.owner, spec: spec, created: d.rt.now(), net: d.rt.newNetwork(spec.Network, number),
	}
	d.rt.sandboxes[s.id] = s
	return s.id, nil
}

// RemoveSandbox removes a network namespace; see [driver.Sandboxer].
func (d *Driver) RemoveSandbox(ctx context.Context, id driver.SandboxID) error {
	if err := d.begin(ctx, "remove sandbox"); err != nil {
		return driver.Wrap(ctx, "remove sandbox", string(id), err)
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	if s := d.rt.sandboxes[id]; s != nil && s.owner == d.owner {
		delete(d.rt.sandboxes, id)
	}
	return nil
}

// ListSandboxes lists network namespaces; see [driver.Sandboxer].
func (d *Driver) ListSandboxes(ctx context.Context, opts driver.ListOptions) ([]driver.Sandbox, error) {
	if err := d.begin(ctx, "list sandboxes"); err != nil {
		return nil, driver.Wrap(ctx, "list sandboxes", "", err)
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	sandboxes := []driver.Sandbox{}
	for _, s := range d.rt.sandboxes {
		if s.owner == d.owner && labelled(s.spec.Labels, opts) {
			sandboxes = append(sandboxes, driver.Sandbox{ID: s.id, Name: s.spec.Name, Labels: cloneLabels(s.spec.Labels), Created: s.created})
		}
	}
	slices.SortFunc(sandboxes, func(a, b driver.Sandbox) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return sandboxes, nil
}
