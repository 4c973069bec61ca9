//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/rootfs"
)

// Create makes a task. See [driver.Driver].
func (d *Driver) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.create(ctx, &spec)
	return id, driver.Wrap(ctx, "create", spec.Name, classify(err))
}

// maker makes one task.
type maker struct {
	*Driver
	spec    *driver.TaskSpec
	uid     string
	h       handle
	net     taskNetwork
	volumes map[driver.VolumeID]string // the directory of each
}

func (d *Driver) create(ctx context.Context, spec *driver.TaskSpec) (driver.TaskID, error) {
	if err := d.refuse(spec); err != nil {
		return "", err
	}
	m := &maker{Driver: d, spec: spec, uid: newUID()}
	m.h = d.handle(mainContainer(d.owner, spec.Name), m.uid)
	if err := m.nameFree(ctx); err != nil {
		return "", err
	}
	imgs, err := m.images(ctx)
	if err != nil {
		return "", err
	}
	m.sweep(ctx)
	making, err := m.lockMaking(m.h)
	if err != nil {
		return "", err
	}
	defer making.Close()
	if err = m.make(ctx, imgs); err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		clean, cancel := detached(ctx)
		defer cancel()
		if undoErr := m.undo(clean); undoErr != nil {
			return "", errors.Join(err, undoErr) // the file stays, for the next one to sweep up
		}
		return "", errors.Join(err, os.Remove(making.Name()))
	}
	return driver.TaskID(m.h.String()), os.Remove(making.Name())
}

// undo takes away what a failed making left. The main container is another task's if the name was taken meanwhile.
func (m *maker) undo(ctx context.Context) error {
	return m.patiently(ctx, func() error {
		if err := m.remove(ctx, m.h); err != nil {
			return err
		}
		return m.sweepSnapshots(ctx, m.h) // a file system may be there, and no container that tells of it yet
	})
}

// refuse refuses what is wrong or not possible before anything is made.
func (d *Driver) refuse(spec *driver.TaskSpec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	p := spec.Placement
	if len(p.NodeSelector)+len(p.Tolerations) > 0 || p.ServiceAccount != "" {
		return driver.Unsupported("Placement")
	}
	for _, c := range containersOf(spec) {
		if err := d.allowed(c); err != nil {
			return err
		}
	}
	return nil
}

func containersOf(spec *driver.TaskSpec) []*driver.Container {
	all := []*driver.Container{&spec.Container}
	for i := range spec.Init {
		all = append(all, &spec.Init[i])
	}
	for i := range spec.Services {
		all = append(all, &spec.Services[i].Container)
	}
	return all
}

// nameFree spares a pull for nothing; the making of the main container is what decides.
func (m *maker) nameFree(ctx context.Context) error {
	_, err := m.client.ContainerService().Get(ctx, m.h.container)
	if err == nil {
		return m.taken()
	}
	return ignoreNotFound(err)
}

func (m *maker) taken() error {
	return driver.WithClass(errdefs.ErrAlreadyExists, "there is a task of that name already; remove it or choose another name")
}

// images fetches what the containers need, at once.
func (m *maker) images(ctx context.Context) ([]*rootImage, error) {
	list := containersOf(m.spec)
	imgs, errs := make([]*rootImage, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for i, c := range list {
		wg.Go(func() { imgs[i], errs[i] = m.image(ctx, c.Image, c.Pull, c.Credentials, nil) })
	}
	wg.Wait()
	return imgs, errors.Join(errs...)
}

func (m *maker) make(ctx context.Context, imgs []*rootImage) error {
	if err := m.findVolumes(); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(m.taskDir(m.h), 0o711), os.Mkdir(filepath.Join(m.taskDir(m.h), marksDir), 0o700)); err != nil {
		return err
	}
	unlock, err := m.lockVolumes()
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.joinNetwork(ctx); err != nil {
		return err
	}
	if err := m.writeSecrets(); err != nil {
		return err
	}
	leased, release, err := m.client.WithLease(ctx, leases.WithID(leaseOf(m.h)), leases.WithExpiration(leaseTime))
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := detached(ctx)
		defer cancel()
		_ = release(clean) // it expires by itself
	}()
	list := containersOf(m.spec)
	for i := range list {
		if err := m.makeContainer(leased, list[i], i, imgs[i]); err != nil {
			return err
		}
	}
	return nil
}

// describe returns the id, the snapshot and the labels of the task's container number i, as in containersOf.
func (m *maker) describe(c *driver.Container, i int) (id, snapshot string, labels map[string]string, err error) {
	if i == 0 {
		labels = m.labels(kindTask, m.spec.Name, m.uid, m.spec.Labels)
		if n := len(m.spec.Init) + len(m.spec.Services); n > 0 {
			labels[labelMembers] = strconv.Itoa(n)
		}
		labels[labelNetwork] = m.net.uid
		return m.h.container, m.h.snapshot(), labels, nil
	}
	kind, index := kindInit, i-1
	if index >= len(m.spec.Init) {
		kind, index = kindService, index-len(m.spec.Init)
	}
	labels = m.labels(kind, m.spec.Name, m.uid, nil)
	labels[labelContainer], labels[labelIndex] = c.Name, strconv.Itoa(index)
	if kind == kindService {
		ready, err := json.Marshal(m.spec.Services[index].Ready)
		if err != nil {
			return "", "", nil, err
		}
		labels[labelReady] = string(ready)
	}
	id = m.h.member(kind, strconv.Itoa(index))
	return id, id, labels, nil
}

func (m *maker) makeContainer(ctx context.Context, c *driver.Container, i int, img *rootImage) error {
	id, snapshot, labels, err := m.describe(c, i)
	if err != nil {
		return err
	}
	for _, mt := range c.Mounts {
		labels[labelVolumes+"."+volumeUID(mt.Volume)] = "1"
	}
	s, err := m.ociSpec(ctx, id, c, img.config)
	if err != nil {
		return err
	}
	if err := m.prepare(ctx, snapshot, c, img); err != nil {
		return err
	}
	record := containers.Container{
		ID: id, Labels: labels, Image: img.name, Snapshotter: m.cfg.Snapshotter, SnapshotKey: snapshot,
		Runtime: containers.RuntimeInfo{Name: defaults.DefaultRuntime},
	}
	if err := m.lookInside(ctx, record, s, firstOf(c.User, img.config.User), m.spec.SecretsOf(m.nameOf(c))); err != nil {
		return err
	}
	if c.Security.NonRoot && s.Process.User.UID == 0 && labels[labelRefused] == "" {
		labels[labelRefused] = "the container would run as root, and Security.NonRoot is set"
	}
	if record.Spec, err = typeurl.MarshalAny(s); err != nil {
		return err
	}
	_, err = m.client.ContainerService().Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		return m.taken()
	}
	return err
}

// prepare makes a container's file system on that of its image. Should that be gone, with the image most likely, it is fetched or
// unpacked again as the pull policy says.
func (m *maker) prepare(ctx context.Context, snapshot string, c *driver.Container, img *rootImage) error {
	service := m.client.SnapshotService(m.cfg.Snapshotter)
	labels := snapshots.WithLabels(map[string]string{labelOwner: m.owner, labelUID: m.uid})
	_, err := service.Prepare(ctx, snapshot, img.chain, labels)
	if notFound(err) {
		m.Driver.images.forget(img.digest)
		again, imgErr := m.image(ctx, c.Image, c.Pull, c.Credentials, nil)
		if imgErr != nil {
			return fmt.Errorf("the image %s was removed meanwhile: %w", img.name, imgErr)
		}
		_, err = service.Prepare(ctx, snapshot, again.chain, labels)
	}
	if err != nil {
		return fmt.Errorf("prepare the file system: %w", err)
	}
	return nil
}

// lookInside finds the user in the container's own file system, and sees whether the secrets have a place there.
func (m *maker) lookInside(ctx context.Context, record containers.Container, s *oci.Spec, user string, secrets []driver.Secret) (err error) {
	if user == "" && len(secrets) == 0 {
		return nil
	}
	if record.Spec, err = typeurl.MarshalAny(s); err != nil {
		return err
	}
	return m.insideSnapshot(ctx, m.taskDir(m.h), record, func() error {
		for _, secret := range secrets {
			if err := placeFor(path.Clean(secret.Path)); err != nil {
				return driver.WithClass(errdefs.ErrInvalidArgument, "secret %s: %v", secret.Name, err)
			}
		}
		if user == "" {
			return nil
		}
		u, err := rootfs.LookUser(user)
		if err != nil {
			record.Labels[labelRefused] = limited(err.Error())
		}
		s.Process.User = specUser(u)
		return nil
	})
}

func specUser(u rootfs.User) specs.User {
	return specs.User{UID: uint32(u.UID), GID: uint32(u.GID), AdditionalGids: u.Groups}
}

// placeFor reports why no file can be mounted at a path: there is a directory, or one above it is none.
func placeFor(file string) error {
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", file)
	}
	for dir := path.Dir(file); dir != "/"; dir = path.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return fmt.Errorf("%s is no directory", dir)
		}
	}
	return nil
}

// writeSecrets puts the secrets where a restart of the machine forgets them.
func (m *maker) writeSecrets() error {
	if len(m.spec.Secrets) == 0 {
		return nil
	}
	if err := os.MkdirAll(m.secretDir(m.uid), 0o700); err != nil {
		return err
	}
	for i, s := range m.spec.Secrets {
		mode := os.FileMode(s.Mode)
		if mode == 0 {
			mode = 0o400
		}
		file := m.secretFile(m.uid, i)
		if err := errors.Join(os.WriteFile(file, s.Value, 0o600), os.Chown(file, s.UID, 0), os.Chmod(file, mode)); err != nil {
			return fmt.Errorf("secret %s: %w", s.Name, err)
		}
	}
	return nil
}

func (d *Driver) secretFile(uid string, i int) string {
	return filepath.Join(d.secretDir(uid), strconv.Itoa(i))
}
