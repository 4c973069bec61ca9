//go:build linux

package containerd

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// sandboxesDir holds a record for each sandbox.
func (d *Driver) sandboxesDir() string { return filepath.Join(d.cfg.State, "sandboxes") }

// CreateSandbox makes a network namespace ahead of its tasks. See [driver.Sandboxer].
func (d *Driver) CreateSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.createSandbox(ctx, &spec)
	return id, driver.Wrap(ctx, "create sandbox", spec.Name, classify(err))
}

func (d *Driver) createSandbox(ctx context.Context, spec *driver.SandboxSpec) (driver.SandboxID, error) {
	if err := errors.Join(driver.ValidName(spec.Name), driver.ValidLabels(spec.Labels)); err != nil {
		return "", err
	}
	if spec.Network.Mode > driver.NetworkNone {
		return "", driver.WithClass(errdefs.ErrInvalidArgument, "Network.Mode: unknown mode %d", spec.Network.Mode)
	}
	r := record{Owner: d.owner, Name: spec.Name, UID: newUID(), Labels: spec.Labels, Created: time.Now().UTC(), Network: spec.Network}
	err := publish(d.sandboxesDir(), r)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return "", driver.WithClass(errdefs.ErrAlreadyExists, "there is a sandbox of that name already; remove it or choose another name")
	}
	if err != nil {
		return "", err
	}
	id := driver.SandboxID("s" + nameSum(r.Owner, r.Name) + "." + r.UID)
	a, err := d.prepareNetwork(ctx, r.UID, spec.Network, spec.Name)
	if err == nil {
		_, err = d.connectNetwork(ctx, r.UID, a)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		clean, cancel := detached(ctx)
		defer cancel()
		return "", errors.Join(err, d.removeSandbox(clean, id))
	}
	return id, nil
}

// sandboxDir returns the directory of a sandbox of the owner.
func (d *Driver) sandboxDir(id driver.SandboxID) (dir, uid string, ok bool) {
	name, uid, ok := strings.Cut(string(id), ".")
	if !ok || len(name) != 25 || name[0] != 's' || !isHex(name[1:]) || !isHex(uid) {
		return "", "", false
	}
	dir = filepath.Join(d.sandboxesDir(), name[1:])
	r, err := readRecord(dir)
	return dir, uid, err == nil && r.UID == uid && r.Owner == d.owner
}

func (d *Driver) sandboxUID(id driver.SandboxID) (string, error) {
	_, uid, ok := d.sandboxDir(id)
	if !ok || !isNetns(d.netnsFile(uid)) {
		return "", driver.WithClass(errdefs.ErrNotFound, "the owner has no sandbox %s", id)
	}
	if a, err := d.attachmentOf(uid); err != nil || a.Mode != driver.NetworkNone && a.Address == "" {
		return "", driver.WithClass(errdefs.ErrNotFound, "the sandbox %s is still being made, or whoever made it has died", id)
	}
	return uid, nil
}

// RemoveSandbox removes a sandbox. See [driver.Sandboxer].
func (d *Driver) RemoveSandbox(ctx context.Context, id driver.SandboxID) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "remove sandbox", string(id), classify(d.removeSandbox(ctx, id)))
}

func (d *Driver) removeSandbox(ctx context.Context, id driver.SandboxID) error {
	dir, uid, ok := d.sandboxDir(id)
	if !ok {
		return nil
	}
	if err := d.leaveNetwork(ctx, uid); err != nil {
		return err
	}
	return removeTree(dir, uid)
}

// ListSandboxes returns the owner's sandboxes. See [driver.Sandboxer].
func (d *Driver) ListSandboxes(ctx context.Context, opts driver.ListOptions) ([]driver.Sandbox, error) {
	ctx, done := d.begin(ctx)
	defer done()
	if err := context.Cause(ctx); err != nil {
		return nil, driver.Wrap(ctx, "list sandboxes", "", err)
	}
	all := []driver.Sandbox{}
	for _, r := range records(d.sandboxesDir()) {
		if r.Owner == d.owner && matches(r.Labels, opts.Labels) {
			all = append(all, driver.Sandbox{
				ID: driver.SandboxID("s" + nameSum(r.Owner, r.Name) + "." + r.UID), Name: r.Name, Labels: r.Labels, Created: r.Created,
			})
		}
	}
	slices.SortFunc(all, func(a, b driver.Sandbox) int { return a.Created.Compare(b.Created) })
	return all, nil
}
