package podman

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// CreateVolume makes an empty volume. See [driver.Driver].
func (d *Driver) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.createVolume(ctx, &spec)
	return id, driver.Wrap(ctx, "create volume", spec.Name, classify(err))
}

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
	err := d.makeVolume(dctx, name, d.labels(kindVolume, spec.Name, uid, spec.Labels))
	if errdefs.IsAlreadyExists(err) {
		return "", err
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

// ownRoot gives a volume's root directory an owner, and so keeps Podman from giving it the user of the first container that mounts
// it: what CopyIn said of it would be lost.
var ownRoot = map[string]string{"o": "uid=0,gid=0"}

// makeVolume makes a volume. The uid of the labels, if they have one, tells it from one that was there before: some
// versions answer with that.
func (d *Driver) makeVolume(ctx context.Context, name string, labels map[string]string) error {
	var made volume
	err := d.api.call(ctx, "POST", "/volumes/create", nil, map[string]any{"Name": name, "Driver": "local", "Label": labels, "Labels": labels, "Options": ownRoot}, &made)
	if err != nil && strings.Contains(err.Error(), "already exists") || err == nil && made.Labels[labelUID] != labels[labelUID] {
		return driver.WithClass(errdefs.ErrAlreadyExists, "there is a volume of that name already; remove it or choose another name")
	}
	return err
}

// undoVolume removes a volume of which the answer came too late or not at all. A service that is away is waited for.
func (d *Driver) undoVolume(ctx context.Context, name, uid string) {
	_ = d.patiently(ctx, func() error {
		v, err := d.inspectVolume(ctx, name)
		if err == nil && v.Labels[labelUID] == uid {
			err = d.deleteVolume(ctx, name)
		}
		return err
	})
}

func (d *Driver) inspectVolume(ctx context.Context, name string) (*volume, error) {
	var v volume
	err := d.api.call(ctx, "GET", "/volumes/"+name+"/json", nil, nil, &v)
	return &v, err
}

func (d *Driver) deleteVolume(ctx context.Context, name string) error {
	return d.api.call(ctx, "DELETE", "/volumes/"+name, url.Values{"force": {"false"}}, nil, nil)
}

// volume returns a volume's name for Podman, or NotFound.
func (d *Driver) volume(ctx context.Context, id driver.VolumeID) (string, error) {
	name, uid, ok := splitVolume(id)
	if ok {
		v, err := d.inspectVolume(ctx, url.PathEscape(name))
		if err == nil && v.Labels[labelUID] == uid && v.Labels[labelOwner] == d.owner {
			return name, nil
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return "", err
		}
	}
	return "", driver.WithClass(errdefs.ErrNotFound, "the owner has no volume %s", id)
}

// volumesOf returns the names for Podman of a task's volumes. It asks beforehand because the
// service makes a volume that is not there when a container is to have it.
func (d *Driver) volumesOf(ctx context.Context, spec *driver.TaskSpec) (map[driver.VolumeID]string, error) {
	names := map[driver.VolumeID]string{}
	for _, c := range containersOf(spec) {
		for _, m := range c.Mounts {
			if names[m.Volume] != "" {
				continue
			}
			name, err := d.volume(ctx, m.Volume)
			if err != nil {
				return nil, err
			}
			names[m.Volume] = name
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
		err = d.deleteVolume(ctx, name)
		if inUse(err) && d.dropHelpers(ctx, name) {
			err = d.deleteVolume(ctx, name)
		}
	}
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case inUse(err):
		err = driver.WithClass(errdefs.ErrFailedPrecondition, "a task still uses the volume: %v", err)
	}
	return driver.Wrap(ctx, "remove volume", string(id), classify(err))
}

func inUse(err error) bool {
	return answered(err) && (errdefs.IsConflict(err) || strings.Contains(err.Error(), "being used"))
}

// dropHelpers removes the helper containers that have the volume, and reports whether there were any. A process that dies
// while it copies leaves one behind; a copy that is under way fails, as its volume goes.
func (d *Driver) dropHelpers(ctx context.Context, volume string) bool {
	f := d.filters(kindHelper, nil)
	f["volume"] = []string{volume}
	list, err := d.list(ctx, f)
	if err != nil {
		return false
	}
	for _, c := range list {
		_ = d.removeContainer(ctx, c.ID) // the volume's removal says what is in the way
	}
	return len(list) > 0
}

// listVolumes asks for the volumes. The service collects their names and then looks at each, and fails if one, whosever it is, has been removed in between: then it is asked again.
func (d *Driver) listVolumes(ctx context.Context, kind string) (list []volume, err error) {
	gone := func() bool { return err != nil && strings.Contains(err.Error(), "no such volume") }
	for range 100 {
		list = nil
		err = d.api.call(ctx, "GET", "/volumes/json", filters(d.filters(kind, nil)), nil, &list)
		if !gone() || ctx.Err() != nil {
			break
		}
	}
	if gone() {
		err = driver.WithClass(errdefs.ErrUnavailable, "the volumes change all the time: %v", err)
	}
	return list, err
}

// ListVolumes returns the owner's volumes by name. See [driver.Driver].
func (d *Driver) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	ctx, done := d.begin(ctx)
	defer done()
	list, err := d.listVolumes(ctx, kindVolume)
	if err != nil {
		return nil, driver.Wrap(ctx, "list volumes", "", classify(err))
	}
	all := []driver.Volume{}
	for _, v := range list {
		if v.Labels[labelOwner] == d.owner && v.Labels[labelKind] == kindVolume && has(v.Labels, opts.Labels) {
			all = append(all, driver.Volume{
				ID: volumeID(v.Name, v.Labels[labelUID]), Name: v.Labels[labelName], Labels: userLabels(v.Labels), Created: timeOf(v.CreatedAt), Used: -1,
			})
		}
	}
	slices.SortFunc(all, func(a, b driver.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}
