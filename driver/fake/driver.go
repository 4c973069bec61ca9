package fake

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Driver is a driver value on a [Runtime]: the connection of one process that works for one owner.
type Driver struct {
	rt        *Runtime
	owner     string
	allow     bool // what goes beyond the safe choice
	line      line
	closeOnce sync.Once
	closed    chan struct{}

	mu     sync.Mutex
	calls  int
	faults []*Fault
}

var (
	_ driver.Driver    = (*Driver)(nil)
	_ driver.Execer    = (*Driver)(nil)
	_ driver.Dialer    = (*Driver)(nil)
	_ driver.Eventer   = (*Driver)(nil)
	_ driver.Puller    = (*Driver)(nil)
	_ driver.Statser   = (*Driver)(nil)
	_ driver.Sandboxer = (*Driver)(nil)
)

// Cut breaks the driver value's connection to the runtime. Calls under way go on when it is restored within the
// runtime's patience, and else return Unavailable.
func (d *Driver) Cut() { d.line.set(true) }

// Restore mends what Cut broke.
func (d *Driver) Restore() { d.line.set(false) }

// Calls is how many calls of methods have reached the runtime so far.
func (d *Driver) Calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// begin is what every call does first: it lets faults happen, and reaches the runtime.
func (d *Driver) begin(ctx context.Context, op string) error {
	d.mu.Lock()
	d.calls++
	d.mu.Unlock()
	if err := d.fault(ctx, op); err != nil {
		return err
	}
	return d.reach(ctx)
}

// reach returns nil when the runtime answers, and Unavailable when patience is over.
func (d *Driver) reach(ctx context.Context) error {
	patience := time.NewTimer(d.rt.cfg.Patience)
	defer patience.Stop()
	for {
		select {
		case <-d.closed:
			return driver.WithClass(errdefs.ErrUnavailable, "the driver is closed")
		default:
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		down, up := d.rt.line.state()
		cut, mended := d.line.state()
		if !down && !cut {
			return nil
		}
		select {
		case <-up:
		case <-mended:
		case <-ctx.Done():
		case <-d.closed:
		case <-patience.C:
			return driver.WithClass(errdefs.ErrUnavailable, "the runtime does not answer")
		}
	}
}

// until waits for c or, if it is not nil, other. When the connection breaks meanwhile, it waits for that to be mended first.
func (d *Driver) until(ctx context.Context, c, other <-chan struct{}) error {
	for {
		down, up := d.rt.line.state()
		cut, mended := d.line.state()
		if down || cut {
			if err := d.reach(ctx); err != nil {
				return err
			}
			continue
		}
		select {
		case <-c:
			return nil
		case <-other:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.closed:
			return driver.WithClass(errdefs.ErrUnavailable, "the driver is closed")
		case <-up:
		case <-mended:
		}
	}
}

// task returns a task of the driver's owner.
func (d *Driver) task(id driver.TaskID) (*task, error) {
	if t := d.rt.task(id); t != nil && t.owner == d.owner {
		return t, nil
	}
	return nil, driver.WithClass(errdefs.ErrNotFound, "there is no such task")
}

// Create makes a task; see [driver.Driver].
func (d *Driver) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	id, err := d.create(ctx, spec)
	return id, driver.Wrap(ctx, "create", spec.Name, err)
}

func (d *Driver) create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	if err := spec.Validate(); err != nil {
		return "", err
	}
	if err := d.supported(spec); err != nil {
		return "", err
	}
	if err := d.begin(ctx, "create"); err != nil {
		return "", err
	}
	images := map[string]*Image{}
	for _, c := range containers(spec) {
		img, err := d.rt.image(ctx, driver.PullSpec{Image: c.Image, Policy: c.Pull, Credentials: c.Credentials})
		if err != nil {
			return "", err
		}
		images[c.Image] = img
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	for _, t := range d.rt.tasks {
		if t.owner == d.owner && t.spec.Name == spec.Name {
			return "", driver.WithClass(errdefs.ErrAlreadyExists, "the name is in use by task %s", t.id)
		}
	}
	volumes, net, err := d.references(spec)
	if err != nil {
		return "", err
	}
	t, err := d.rt.newTask(d.owner, d.rt.handle(), spec, images, volumes, net)
	if err != nil {
		return "", err
	}
	d.rt.tasks[t.id] = t
	d.rt.publishLocked(t, false)
	return t.id, nil
}

// references finds the volumes and the network of a spec. The runtime's lock is held.
func (d *Driver) references(spec driver.TaskSpec) (map[driver.VolumeID]*volume, *network, error) {
	for _, c := range containers(spec) {
		for _, m := range c.Mounts {
			if v := d.rt.volumes[m.Volume]; v == nil || v.owner != d.owner {
				return nil, nil, driver.WithClass(errdefs.ErrNotFound, "there is no volume %s", m.Volume)
			}
		}
	}
	if spec.Sandbox == "" {
		return d.rt.volumes, d.rt.newNetwork(spec.Network, d.rt.handle()), nil
	}
	s := d.rt.sandboxes[spec.Sandbox]
	if s == nil || s.owner != d.owner {
		return nil, nil, driver.WithClass(errdefs.ErrNotFound, "there is no sandbox %s", spec.Sandbox)
	}
	return d.rt.volumes, s.net, nil
}

func containers(spec driver.TaskSpec) []driver.Container {
	all := append([]driver.Container{spec.Container}, spec.Init...)
	for _, s := range spec.Services {
		all = append(all, s.Container)
	}
	return all
}

// supported refuses what the runtime cannot honour.
func (d *Driver) supported(spec driver.TaskSpec) error {
	var errs []error
	refuse := func(is bool, field string) {
		if is {
			errs = append(errs, driver.Unsupported(field))
		}
	}
	forbid := func(is bool, field string) {
		if is {
			errs = append(errs, driver.WithClass(errdefs.ErrPermissionDenied, "%s is not allowed by this installation", field))
		}
	}
	p := spec.Placement
	refuse(len(p.NodeSelector) > 0 || len(p.Tolerations) > 0 || p.ServiceAccount != "", "Placement")
	for _, c := range containers(spec) {
		refuse(c.Platform != "", "Container.Platform")
		s := c.Security
		refuse(d.allow && s.HostNetwork, "Container.Security.HostNetwork")
		refuse(d.allow && len(s.HostPaths) > 0, "Container.Security.HostPaths")
		if d.allow {
			continue
		}
		forbid(s.Privileged, "Container.Security.Privileged")
		forbid(s.HostNetwork, "Container.Security.HostNetwork")
		forbid(s.AllowNewPrivileges, "Container.Security.AllowNewPrivileges")
		forbid(len(s.HostPaths) > 0, "Container.Security.HostPaths")
		forbid(len(s.AddCapabilities) > 0, "Container.Security.AddCapabilities")
	}
	return errors.Join(errs...)
}

// Start starts a task; see [driver.Driver].
func (d *Driver) Start(ctx context.Context, id driver.TaskID) error {
	return driver.Wrap(ctx, "start", string(id), d.start(ctx, id))
}

func (d *Driver) start(ctx context.Context, id driver.TaskID) error {
	if err := d.begin(ctx, "start"); err != nil {
		return err
	}
	t, err := d.task(id)
	if err != nil {
		return err
	}
	t.start()
	return d.until(ctx, t.started, nil)
}

// Wait waits for a task's end; see [driver.Driver].
func (d *Driver) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	res, err := d.wait(ctx, id)
	return res, driver.Wrap(ctx, "wait", string(id), err)
}

func (d *Driver) wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	if err := d.begin(ctx, "wait"); err != nil {
		return driver.Result{}, err
	}
	t, err := d.task(id)
	if err != nil {
		return driver.Result{}, err
	}
	if err := d.until(ctx, t.ended, nil); err != nil {
		return driver.Result{}, err
	}
	return t.result, nil
}

// Stop stops a task; see [driver.Driver].
func (d *Driver) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	return driver.Wrap(ctx, "stop", string(id), d.stop(ctx, id, opts))
}

func (d *Driver) stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	if err := d.begin(ctx, "stop"); err != nil {
		return err
	}
	t, err := d.task(id)
	if err != nil {
		return err
	}
	t.stop(opts.Grace)
	return d.until(ctx, t.ended, nil)
}

// Remove removes a task; see [driver.Driver].
func (d *Driver) Remove(ctx context.Context, id driver.TaskID) error {
	if err := d.begin(ctx, "remove"); err != nil {
		return driver.Wrap(ctx, "remove", string(id), err)
	}
	if t, err := d.task(id); err == nil {
		t.remove(driver.Result{Outcome: driver.Lost, Reason: "the task was removed"})
	}
	return nil
}

// List lists tasks; see [driver.Driver].
func (d *Driver) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	if err := d.begin(ctx, "list"); err != nil {
		return nil, driver.Wrap(ctx, "list", "", err)
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	tasks := []driver.Task{}
	for _, t := range d.rt.tasks {
		if t.owner == d.owner && labelled(t.spec.Labels, opts) {
			tasks = append(tasks, t.info())
		}
	}
	slices.SortFunc(tasks, func(a, b driver.Task) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return tasks, nil
}

// view returns what is at a place, and the error if it does not exist.
func (d *Driver) view(at driver.Place) (*view, error) {
	if at.Volume != "" {
		v, err := d.volume(at.Volume)
		if err != nil {
			return nil, err
		}
		return &view{disk: &d.rt.disk, root: v.root}, nil
	}
	t, err := d.task(at.Task)
	if err != nil {
		return nil, err
	}
	return t.main.view, nil
}

func subject(at driver.Place, p string) string {
	return string(at.Task) + string(at.Volume) + ":" + p
}

// CopyIn unpacks a stream; see [driver.Driver].
func (d *Driver) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	return driver.Wrap(ctx, "copy in", subject(opts.Place, opts.Path), d.copyIn(ctx, opts))
}

func (d *Driver) copyIn(ctx context.Context, opts driver.CopyInOptions) error {
	if err := opts.Place.Validate(opts.Path); err != nil {
		return err
	}
	if err := d.begin(ctx, "copy in"); err != nil {
		return err
	}
	v, err := d.view(opts.Place)
	if err != nil {
		return err
	}
	safe := driver.SafeTar(opts.Tar, opts.OutsideLinks)
	defer safe.Close()
	defer context.AfterFunc(ctx, func() { safe.Close() })()
	if err := v.unpack(path.Clean(opts.Path), safe); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, opts.Tar) // what follows the end of the archive
	return err
}

// CopyOut reads files; see [driver.Driver].
func (d *Driver) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	r, err := d.copyOut(ctx, opts)
	return r, driver.Wrap(ctx, "copy out", subject(opts.Place, opts.Path), err)
}

func (d *Driver) copyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	if err := opts.Place.Validate(opts.Path); err != nil {
		return nil, err
	}
	if err := d.begin(ctx, "copy out"); err != nil {
		return nil, err
	}
	v, err := d.view(opts.Place)
	if err != nil {
		return nil, err
	}
	return v.pack(opts.Path)
}

// Capabilities says what the runtime can do; see [driver.Driver].
func (d *Driver) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	if err := d.begin(ctx, "capabilities"); err != nil {
		return driver.Capabilities{}, driver.Wrap(ctx, "capabilities", "", err)
	}
	return d.capabilities(), nil
}

// Close ends the driver value; see [driver.Driver].
func (d *Driver) Close() error {
	d.closeOnce.Do(func() { close(d.closed) })
	return nil
}
