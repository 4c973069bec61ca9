package remote

import (
	"context"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Capabilities are those of the other driver. See [driver.Driver].
func (d *Driver) Capabilities(ctx context.Context) (driver.Capabilities, error) {
	return again[driver.Capabilities](ctx, d, "capabilities", "", "Capabilities", none{})
}

// Create makes a task. See [driver.Driver].
func (d *Driver) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	return once[driver.TaskID](ctx, d, "create", spec.Name, "Create", spec)
}

// Start starts a task. See [driver.Driver].
func (d *Driver) Start(ctx context.Context, id driver.TaskID) error {
	_, err := again[none](ctx, d, "start", string(id), "Start", id)
	return err
}

// Wait returns how a task ended. See [driver.Driver].
func (d *Driver) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	var res driver.Result
	waited := false
	err := d.patiently(ctx, func() error {
		w, err := d.begin(ctx, "Wait", id)
		if err != nil {
			return err
		}
		defer w.Close()
		res, err = finish[driver.Result](ctx, d, w, nil)
		if waited && errdefs.IsNotFound(err) { // it was removed while the connection was broken
			res, err = driver.Result{Outcome: driver.Lost, Reason: "the task was removed"}, nil
		}
		waited = true
		return err
	})
	return res, driver.Wrap(ctx, "wait", string(id), err)
}

// Stop ends a task. See [driver.Driver].
func (d *Driver) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	_, err := again[none](ctx, d, "stop", string(id), "Stop", onTask[driver.StopOptions]{id, opts})
	return err
}

// Remove removes a task. See [driver.Driver].
func (d *Driver) Remove(ctx context.Context, id driver.TaskID) error {
	_, err := again[none](ctx, d, "remove", string(id), "Remove", id)
	return err
}

// List returns the owner's tasks. See [driver.Driver].
func (d *Driver) List(ctx context.Context, opts driver.ListOptions) ([]driver.Task, error) {
	return again[[]driver.Task](ctx, d, "list", "", "List", opts)
}

// CreateVolume makes a volume. See [driver.Driver].
func (d *Driver) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	return once[driver.VolumeID](ctx, d, "create volume", spec.Name, "CreateVolume", spec)
}

// RemoveVolume removes a volume. See [driver.Driver].
func (d *Driver) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	_, err := again[none](ctx, d, "remove volume", string(id), "RemoveVolume", id)
	return err
}

// ListVolumes returns the owner's volumes. See [driver.Driver].
func (d *Driver) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	return again[[]driver.Volume](ctx, d, "list volumes", "", "ListVolumes", opts)
}

// Stats measures a task. See [driver.Statser].
func (d *Driver) Stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	return again[driver.Usage](ctx, d, "stats", string(id), "Stats", id)
}

// CreateSandbox makes a sandbox. See [driver.Sandboxer].
func (d *Driver) CreateSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	return once[driver.SandboxID](ctx, d, "create sandbox", spec.Name, "CreateSandbox", spec)
}

// RemoveSandbox removes a sandbox. See [driver.Sandboxer].
func (d *Driver) RemoveSandbox(ctx context.Context, id driver.SandboxID) error {
	_, err := again[none](ctx, d, "remove sandbox", string(id), "RemoveSandbox", id)
	return err
}

// ListSandboxes returns the owner's sandboxes. See [driver.Sandboxer].
func (d *Driver) ListSandboxes(ctx context.Context, opts driver.ListOptions) ([]driver.Sandbox, error) {
	return again[[]driver.Sandbox](ctx, d, "list sandboxes", "", "ListSandboxes", opts)
}

// Pull fetches an image. See [driver.Puller].
func (d *Driver) Pull(ctx context.Context, spec driver.PullSpec) error {
	args := pulling{spec.Image, spec.Platform, spec.Policy, spec.Credentials, spec.Progress != nil}
	w, err := d.begin(ctx, "Pull", args)
	if err == nil {
		defer w.Close()
		_, err = finish[none](ctx, d, w, func(k kind, payload []byte) error {
			var p driver.PullProgress
			if k == kindItem && decoding.Unmarshal(payload, &p) == nil {
				spec.Progress(p)
			}
			return nil
		})
	}
	return driver.Wrap(ctx, "pull", spec.Image, err)
}
