package runc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// volume is volume.json; the files are beside it, in data.
type volume struct {
	ID      driver.VolumeID
	Labels  map[string]string
	Created time.Time
}

// volume returns the directory of a volume's files. The handle is NAME.RANDOM, as that of a task.
func (d *Driver) volume(id driver.VolumeID) (string, error) {
	dir := filepath.Join(d.volumes(), nameOf(string(id)))
	var v volume
	if readJSON(dir, "volume.json", &v) != nil || v.ID != id {
		return "", driver.WithClass(errdefs.ErrNotFound, "there is no such volume")
	}
	return filepath.Join(dir, "data"), nil
}

// CreateVolume makes a directory. See [driver.Driver].
func (d *Driver) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id := driver.VolumeID(newHandle(spec.Name))
	err := errors.Join(spec.Validate(), context.Cause(ctx))
	if err == nil {
		err = d.createVolume(id, spec)
	}
	if err != nil {
		return "", driver.Wrap(ctx, "create volume", spec.Name, classify(err))
	}
	return id, nil
}

func (d *Driver) createVolume(id driver.VolumeID, spec driver.VolumeSpec) error {
	dir, err := os.MkdirTemp(d.trash(), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	err = errors.Join(os.Mkdir(filepath.Join(dir, "data"), 0o755),
		writeJSON(dir, "volume.json", volume{ID: id, Labels: spec.Labels, Created: time.Now()}))
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(d.volumes(), spec.Name))
	if errors.Is(err, os.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return driver.WithClass(errdefs.ErrAlreadyExists, "there is a volume of that name")
	}
	return err
}

// RemoveVolume removes a volume that no task refers to. See [driver.Driver].
func (d *Driver) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "remove volume", string(id), classify(d.removeVolume(ctx, id)))
}

func (d *Driver) removeVolume(ctx context.Context, id driver.VolumeID) error {
	l, err := lock(ctx, d.volumes()+".lock") // no task is made meanwhile
	if err != nil {
		return err
	}
	defer l.Close()
	data, err := d.volume(id)
	if err != nil {
		return nil // it is not there
	}
	tasks, err := os.ReadDir(d.tasks())
	if err != nil {
		return err
	}
	for _, e := range tasks {
		var r record
		if readJSON(filepath.Join(d.tasks(), e.Name()), "task.json", &r) == nil &&
			slices.ContainsFunc(r.Spec.Container.Mounts, func(m driver.Mount) bool { return m.Volume == id }) {
			return driver.WithClass(errdefs.ErrFailedPrecondition, "the task %s uses it", r.Spec.Name)
		}
	}
	return os.RemoveAll(filepath.Dir(data))
}

// ListVolumes reads the directories. See [driver.Driver].
func (d *Driver) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	entries, err := os.ReadDir(d.volumes())
	if err := errors.Join(err, context.Cause(ctx), context.Cause(d.ctx)); err != nil {
		return nil, driver.Wrap(ctx, "list volumes", "", classify(err))
	}
	var volumes []driver.Volume
	for _, e := range entries { // by name
		var v volume
		if readJSON(filepath.Join(d.volumes(), e.Name()), "volume.json", &v) == nil && matches(v.Labels, opts.Labels) {
			volumes = append(volumes, driver.Volume{ID: v.ID, Name: e.Name(), Labels: v.Labels, Created: v.Created, Used: -1})
		}
	}
	return volumes, nil
}
