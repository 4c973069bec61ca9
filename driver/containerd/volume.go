//go:build linux

package containerd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// volumesDir holds a directory for each volume: what is in it, in "data", and a record.
func (d *Driver) volumesDir() string { return filepath.Join(d.cfg.Root, "volumes") }

// record describes a volume or a sandbox in a file, "record.json".
type record struct {
	Owner, Name, UID string
	Labels           map[string]string
	Created          time.Time
	Network          driver.Network `json:",omitzero"` // of a sandbox
}

// nameSum is the directory of what an owner calls by that name: the name's reservation, in every process.
func nameSum(owner, name string) string {
	sum := sha256.Sum256([]byte(owner + "\x00" + name))
	return hex.EncodeToString(sum[:12])
}

func readRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, "record.json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// publish puts a directory with the record in place, whole or not at all, unless there is one already. The
// directory has the subdirectories.
func publish(parent string, r record, sub ...string) error {
	if err := os.MkdirAll(parent, 0o711); err != nil {
		return err
	}
	lock, err := lockFile(parent, os.O_RDONLY, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer lock.Close()
	tmp, err := os.MkdirTemp(parent, prefixNew)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(tmp, "record.json"), b, 0o600), os.Chmod(tmp, 0o711)); err != nil {
		return err
	}
	for _, s := range sub {
		if err := os.Mkdir(filepath.Join(tmp, s), 0o755); err != nil {
			return err
		}
	}
	return os.Rename(tmp, filepath.Join(parent, nameSum(r.Owner, r.Name)))
}

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
	r := record{Owner: d.owner, Name: spec.Name, UID: newUID(), Labels: spec.Labels, Created: time.Now().UTC()}
	err := publish(d.volumesDir(), r, "data")
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return "", driver.WithClass(errdefs.ErrAlreadyExists, "there is a volume of that name already; remove it or choose another name")
	}
	return volumeID(r), err
}

func volumeID(r record) driver.VolumeID {
	return driver.VolumeID("v" + nameSum(r.Owner, r.Name) + "." + r.UID)
}

func volumeUID(id driver.VolumeID) string {
	_, uid, _ := strings.Cut(string(id), ".")
	return uid
}

// volume returns a volume's directory, or NotFound.
func (d *Driver) volume(id driver.VolumeID) (string, error) {
	name, uid, ok := strings.Cut(string(id), ".")
	if ok && len(name) == 25 && name[0] == 'v' && isHex(name[1:]) && isHex(uid) {
		dir := filepath.Join(d.volumesDir(), name[1:])
		if r, err := readRecord(dir); err == nil && r.UID == uid && r.Owner == d.owner {
			return dir, nil
		}
	}
	return "", driver.WithClass(errdefs.ErrNotFound, "the owner has no volume %s", id)
}

// findVolumes looks for the volumes of the task.
func (m *maker) findVolumes() error {
	m.volumes = map[driver.VolumeID]string{}
	for _, c := range containersOf(m.spec) {
		for _, mt := range c.Mounts {
			dir, err := m.volume(mt.Volume)
			if err != nil {
				return err
			}
			m.volumes[mt.Volume] = dir
		}
	}
	return nil
}

// lockVolumes keeps the volumes from being removed until the task refers to them.
func (m *maker) lockVolumes() (func(), error) {
	var files []*os.File
	unlock := func() {
		for _, f := range files {
			f.Close()
		}
	}
	for id, dir := range m.volumes {
		f, err := lockFile(filepath.Join(dir, "record.json"), os.O_RDONLY, unix.LOCK_SH)
		if err == nil {
			files = append(files, f)
			_, err = m.volume(id)
		}
		if err != nil {
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

// mountSource is the directory to mount; a sub-path is made if it is not there. No link leads out of the volume.
func (m *maker) mountSource(mt driver.Mount) (string, error) {
	data := filepath.Join(m.volumes[mt.Volume], "data")
	if mt.SubPath == "" {
		return data, nil
	}
	root, err := os.OpenRoot(data)
	if err != nil {
		return "", err
	}
	defer root.Close()
	dir := ""
	for part := range strings.SplitSeq(mt.SubPath, "/") {
		dir = filepath.Join(dir, part)
		if err := root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		info, err := root.Lstat(dir)
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return "", driver.WithClass(errdefs.ErrFailedPrecondition, "SubPath %q: %s in the volume is no directory", mt.SubPath, dir)
		}
	}
	return filepath.Join(data, mt.SubPath), nil
}

// RemoveVolume deletes a volume that nothing uses. See [driver.Driver].
func (d *Driver) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "remove volume", string(id), classify(d.removeVolume(ctx, id)))
}

func (d *Driver) removeVolume(ctx context.Context, id driver.VolumeID) error {
	dir, err := d.volume(id)
	if err != nil {
		return nil
	}
	inUse := driver.WithClass(errdefs.ErrFailedPrecondition, "a task still uses the volume")
	record := filepath.Join(dir, "record.json")
	f, err := lockFile(record, os.O_RDONLY, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EWOULDBLOCK):
		if f, err = lockFile(record, os.O_RDONLY, unix.LOCK_SH|unix.LOCK_NB); err == nil { // so has a Create
			f.Close()
			if _, err := d.volume(id); err != nil {
				return nil
			}
			return inUse
		}
		if errors.Is(err, unix.EWOULDBLOCK) { // another removal has not
			err = awaitUnlock(ctx, record)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return d.removeVolume(ctx, id)
	case err != nil:
		return err
	}
	defer f.Close()
	if _, err := d.volume(id); err != nil { // removed meanwhile, and perhaps another has its name
		return nil
	}
	users, err := d.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==1", labelVolumes+"."+volumeUID(id)))
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return inUse
	}
	return removeTree(dir, volumeUID(id))
}

// ListVolumes returns the owner's volumes by name. See [driver.Driver].
func (d *Driver) ListVolumes(ctx context.Context, opts driver.ListOptions) ([]driver.Volume, error) {
	ctx, done := d.begin(ctx)
	defer done()
	if err := context.Cause(ctx); err != nil {
		return nil, driver.Wrap(ctx, "list volumes", "", err)
	}
	all := []driver.Volume{}
	for dir, r := range records(d.volumesDir()) {
		if r.Owner != d.owner || !matches(r.Labels, opts.Labels) {
			continue
		}
		used, err := usage(filepath.Join(dir, "data"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, driver.Wrap(ctx, "list volumes", r.Name, classify(err))
		}
		all = append(all, driver.Volume{ID: volumeID(r), Name: r.Name, Labels: r.Labels, Created: r.Created, Used: used})
	}
	slices.SortFunc(all, func(a, b driver.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// records returns the records below a directory.
func records(parent string) map[string]record {
	all := map[string]record{}
	list, _ := os.ReadDir(parent) // not there: nothing is
	for _, e := range list {
		dir := filepath.Join(parent, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if r, err := readRecord(dir); err == nil {
			all[dir] = r
		}
	}
	return all
}

// usage is how many bytes the files of a directory have. What goes away meanwhile does not count.
func usage(dir string) (int64, error) {
	var n int64
	if _, err := os.Stat(dir); err != nil {
		return 0, err
	}
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n, err
}
