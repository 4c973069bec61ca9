package docker

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// CreateVolume makes an empty volume. See [driver.Driver].
func (d *Driver) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.createVolume(ctx, &spec)
	return id, driver.Wrap(ctx, "create volume", spec.Name, classify(err))
}

// createVolume relies on the daemon's answering a create of what exists with that: the uid tells
// whether it is ours.
func (d *Driver) createVolume(ctx context.Context, spec *driver.VolumeSpec) (driver.VolumeID, error) {
	if err := spec.Validate(); err != nil {
		return "", err
	}
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	uid, name := newUID(), d.containerName(spec.Name)
	dctx, cancel := detached(ctx)
	defer cancel()
	res, err := d.api.VolumeCreate(dctx, client.VolumeCreateOptions{Name: name, Driver: "local", Labels: d.labels("volume", spec.Name, uid, spec.Labels)})
	if errdefs.IsConflict(err) || err == nil && res.Volume.Labels[labelUID] != uid {
		return "", driver.WithClass(errdefs.ErrAlreadyExists, "there is a volume of that name already; remove it or choose another name")
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		d.undoVolume(dctx, name, uid)
		return "", err
	}
	return volumeID(name, uid), nil
}

// undoVolume removes a volume of which the answer came too late or not at all. A daemon that dies in the midst of making
// it leaves it without labels, where nobody would find it later, so a daemon that is away is waited for.
func (d *Driver) undoVolume(ctx context.Context, name, uid string) {
	_ = d.patiently(ctx, func() error {
		v, err := d.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if err == nil && (v.Volume.Labels[labelUID] == uid || len(v.Volume.Labels) == 0) {
			_, err = d.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		}
		return err
	})
}

// volume returns a volume's name for Docker, or NotFound.
func (d *Driver) volume(ctx context.Context, id driver.VolumeID) (string, error) {
	name, uid, ok := splitVolume(id)
	if ok {
		v, err := d.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if err == nil && v.Volume.Labels[labelUID] == uid && v.Volume.Labels[labelOwner] == d.owner {
			return name, nil
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return "", err
		}
	}
	return "", driver.WithClass(errdefs.ErrNotFound, "the owner has no volume %s", id)
}

// volumesOf returns the names for Docker of a task's volumes. It asks beforehand because the
// daemon makes a volume that is not there when a container is to have it.
func (d *Driver) volumesOf(ctx context.Context, spec *driver.TaskSpec) (map[driver.VolumeID]string, error) {
	names := map[driver.VolumeID]string{}
	for _, c := range containersOf(spec) {
		for _, m := range c.Mounts {
			if names[m.Volume] != "" && m.SubPath == "" {
				continue
			}
			name, err := d.volume(ctx, m.Volume)
			if err != nil {
				return nil, err
			}
			names[m.Volume] = name
			if m.SubPath != "" {
				if err := d.makeSubPath(ctx, name, m.SubPath); err != nil {
					return nil, err
				}
			}
		}
	}
	return names, nil
}

// RemoveVolume deletes a volume that nothing uses. See [driver.Driver].
func (d *Driver) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	ctx, done := d.begin(ctx)
	defer done()
	name, err := d.volume(ctx, id)
	if err == nil {
		_, err = d.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
	}
	if errdefs.IsConflict(err) && d.dropHelpers(ctx, name) {
		_, err = d.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
	}
	switch {
	case err == nil:
		_ = d.removeOwnNetwork(ctx) // refused if it is used: a process that died between making the network and its first task leaves it, and its volumes
	case errdefs.IsNotFound(err):
		return nil
	case errdefs.IsConflict(err):
		err = driver.WithClass(errdefs.ErrFailedPrecondition, "a task still uses the volume: %v", classify(err))
	}
	return driver.Wrap(ctx, "remove volume", string(id), classify(err))
}

// dropHelpers removes the helper containers that have the volume, and reports whether there were any. A process that dies
// while it copies leaves one behind; a copy that is under way fails, as its volume goes.
func (d *Driver) dropHelpers(ctx context.Context, volume string) bool {
	res, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.filters(kindHelper, nil).Add("volume", volume)})
	if err != nil {
		return false
	}
	for _, c := range res.Items {
		_ = d.removeContainer(ctx, c.ID) // the volume's removal says what is in the way
	}
	return len(res.Items) > 0
}

// ListVolumes returns the owner's volumes by name. See [driver.Driver].
func (d *Driver) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	ctx, done := d.begin(ctx)
	defer done()
	res, err := d.api.VolumeList(ctx, client.VolumeListOptions{Filters: d.filters("volume", opts.Labels)})
	if err != nil {
		return nil, driver.Wrap(ctx, "list volumes", "", classify(err))
	}
	all := []driver.Volume{}
	for _, v := range res.Items {
		all = append(all, volumeOf(v))
	}
	slices.SortFunc(all, func(a, b driver.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func volumeOf(v volume.Volume) driver.Volume {
	created, _ := time.Parse(time.RFC3339, v.CreatedAt) // the zero time if the daemon does not say
	name := strings.TrimSpace(v.Labels[labelName])
	return driver.Volume{ID: volumeID(v.Name, v.Labels[labelUID]), Name: name, Labels: userLabels(v.Labels), Created: created.UTC(), Used: -1}
}
