package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// Create pulls the image and makes the directory. See [driver.Driver].
func (d *Driver) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.create(ctx, spec)
	return id, driver.Wrap(ctx, "create", spec.Name, classify(err))
}

func (d *Driver) create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	if err := errors.Join(spec.Validate(), refuse(&spec)); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	img, err := d.image(ctx, &spec.Container)
	if err != nil {
		return "", err
	}
	spec.Container.Credentials = nil // nobody needs them any more
	dir, err := os.MkdirTemp(d.trash(), "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) // what has been renamed is not there
	for _, name := range []string{"upper", "work", "rootfs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return "", err
		}
	}
	r := record{
		ID: driver.TaskID(newHandle(spec.Name)), Owner: d.owner, Root: d.root,
		Spec: spec, Image: img, Created: time.Now(),
	}
	if err := writeJSON(dir, "task.json", &r); err != nil {
		return "", err
	}
	return r.ID, d.publish(ctx, dir, &r)
}

// publish gives a task that is ready its name. The lock keeps volumes from being removed meanwhile.
func (d *Driver) publish(ctx context.Context, dir string, r *record) error {
	l, err := lock(ctx, d.volumes()+".lock")
	if err != nil {
		return err
	}
	defer l.Close()
	for _, m := range r.Spec.Container.Mounts {
		if _, err := d.volume(m.Volume); err != nil {
			return fmt.Errorf("volume %s: %w", m.Volume, err)
		}
	}
	to := filepath.Join(d.tasks(), r.Spec.Name)
	if err := os.Rename(dir, to); errors.Is(err, os.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return driver.WithClass(errdefs.ErrAlreadyExists, "there is a task of that name")
	} else if err != nil {
		return err
	}
	overlay := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", d.images(r.Image.ID)+"/rootfs", to, to)
	if err := unix.Mount("overlay", filepath.Join(to, "rootfs"), "overlay", 0, overlay); err != nil {
		return errors.Join(fmt.Errorf("mount the root file system: %w", err), os.RemoveAll(to))
	}
	return nil
}

// refuse names everything in a spec that this driver cannot do. What is forgotten here would be ignored silently: the suite looks.
func refuse(s *driver.TaskSpec) error {
	var errs []error
	no := func(is bool, field string) {
		if is {
			errs = append(errs, driver.Unsupported(field))
		}
	}
	c := &s.Container
	no(len(s.Init) > 0, "Init")
	no(len(s.Services) > 0, "Services")
	no(s.Sandbox != "", "Sandbox")
	no(len(s.Secrets) > 0, "Secrets")
	no(len(s.Placement.NodeSelector) > 0 || len(s.Placement.Tolerations) > 0 || s.Placement.ServiceAccount != "", "Placement")
	no(s.Network.Mode == driver.NetworkOwn, "Network.Mode")
	no(len(s.Network.DNS) > 0, "Network.DNS")
	no(len(s.Network.Hosts) > 0, "Network.Hosts")
	no(c.Platform != "", "Container.Platform")
	no(c.Resources.CPU > 0, "Container.Resources.CPU")
	no(c.Resources.Memory > 0, "Container.Resources.Memory")
	no(c.Resources.PIDs > 0, "Container.Resources.PIDs")
	no(c.Security.Privileged, "Container.Security.Privileged")
	no(c.Security.HostNetwork, "Container.Security.HostNetwork")
	no(len(c.Security.HostPaths) > 0, "Container.Security.HostPaths")
	no(len(c.Security.AddCapabilities) > 0, "Container.Security.AddCapabilities")
	no(c.Security.AllowNewPrivileges, "Container.Security.AllowNewPrivileges")
	for i, m := range c.Mounts {
		no(m.SubPath != "", fmt.Sprintf("Container.Mounts[%d].SubPath", i))
	}
	return errors.Join(errs...)
}
