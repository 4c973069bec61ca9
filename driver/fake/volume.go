package fake

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

type volume struct {
	id      driver.VolumeID
	owner   string
	spec    driver.VolumeSpec
	created time.Time
	root    *node
}

func (d *Driver) volume(id driver.VolumeID) (*volume, error) {
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	if v := d.rt.volumes[id]; v != nil && v.owner == d.owner {
		return v, nil
	}
	return nil, driver.WithClass(errdefs.ErrNotFound, "there is no such volume")
}

// CreateVolume makes a volume; see [driver.Driver].
func (d *Driver) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	id, err := d.createVolume(ctx, spec)
	return id, driver.Wrap(ctx, "create volume", spec.Name, err)
}

func (d *Driver) createVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	if err := spec.Validate(); err != nil {
		return "", err
	}
	if err := d.begin(ctx, "create volume"); err != nil {
		return "", err
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	for _, v := range d.rt.volumes {
		if v.owner == d.owner && v.spec.Name == spec.Name {
			return "", driver.WithClass(errdefs.ErrAlreadyExists, "the name is in use by volume %s", v.id)
		}
	}
	v := &volume{
		id:    driver.VolumeID(fmt.Sprintf("volume-%d-%s", d.rt.handle(), spec.Name)),
		owner: d.owner, spec: spec, created: d.rt.now(), root: d.rt.disk.dir(0o755),
	}
	d.rt.volumes[v.id] = v
	return v.id, nil
}

// RemoveVolume deletes a volume; see [driver.Driver].
func (d *Driver) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	return driver.Wrap(ctx, "remove volume", string(id), d.removeVolume(ctx, id))
}

func (d *Driver) removeVolume(ctx context.Context, id driver.VolumeID) error {
	if err := d.begin(ctx, "remove volume"); err != nil {
		return err
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	if v := d.rt.volumes[id]; v == nil || v.owner != d.owner {
		return nil
	}
	for _, t := range d.rt.tasks {
		if t.uses(id) {
			return driver.WithClass(errdefs.ErrFailedPrecondition, "the volume is in use by task %s", t.id)
		}
	}
	delete(d.rt.volumes, id)
	return nil
}

// ListVolumes lists volumes; see [driver.Driver].
func (d *Driver) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	if err := d.begin(ctx, "list volumes"); err != nil {
		return nil, driver.Wrap(ctx, "list volumes", "", err)
	}
	d.rt.mu.Lock()
	defer d.rt.mu.Unlock()
	volumes := []driver.Volume{}
	for _, v := range d.rt.volumes {
		if v.owner == d.owner && labelled(v.spec.Labels, opts) {
			volumes = append(volumes, driver.Volume{
				ID: v.id, Name: v.spec.Name, Labels: cloneLabels(v.spec.Labels), Created: v.created, Used: d.rt.disk.used(v.root),
			})
		}
	}
	slices.SortFunc(volumes, func(a, b driver.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return volumes, nil
}
