package podman

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// CreateSandbox makes a network namespace that tasks join. See [driver.Sandboxer].
func (d *Driver) CreateSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.createSandbox(ctx, spec)
	return id, driver.Wrap(ctx, "create sandbox", spec.Name, classify(err))
}

func (d *Driver) createSandbox(ctx context.Context, spec driver.SandboxSpec) (_ driver.SandboxID, err error) {
	m := &maker{Driver: d, spec: &driver.TaskSpec{Network: spec.Network}, uid: newUID()}
	network, err := d.networkConfig(ctx, spec.Network, m.uid)
	if err := errors.Join(driver.ValidName(spec.Name), driver.ValidLabels(spec.Labels), err); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.undo(ctx))
		}
	}()
	labels := d.labels(kindSandbox, spec.Name, m.uid, spec.Labels)
	if spec.Network.Mode == driver.NetworkOwn {
		labels[labelNetwork] = m.uid
		if err := d.makeNetwork(ctx, m.uid); err != nil {
			return "", err
		}
	}
	pause := pauseSpec("wharf_"+d.owner+"__sandbox_"+spec.Name, labels, network)
	id, err := m.create(ctx, nil, &pause)
	if err == nil {
		err = d.startContainer(ctx, id)
	}
	return driver.SandboxID(handleOf(id, labels).String()), err
}

// RemoveSandbox removes a sandbox, whatever uses it. See [driver.Sandboxer].
func (d *Driver) RemoveSandbox(ctx context.Context, id driver.SandboxID) error {
	ctx, done := d.begin(ctx)
	defer done()
	h, err := d.parse(string(id))
	if err != nil {
		return nil // nothing that exists has such a handle
	}
	return driver.Wrap(ctx, "remove sandbox", string(id), classify(d.removeSandbox(ctx, h)))
}

// removeSandbox takes the network down. The container stays, marked, as long as Podman holds it because others
// are in its namespace: it goes with the last of them.
func (d *Driver) removeSandbox(ctx context.Context, h handle) error {
	err := d.removeContainer(ctx, h.container)
	if err != nil && hasDependents(err) {
		if err := d.stopOne(ctx, h.container, 0); err != nil {
			return err
		}
		if err := d.setMark(ctx, h.container, markGone, ""); err != nil {
			return err
		}
		err = d.removeContainer(ctx, h.container) // they may have gone meanwhile
		if err != nil && hasDependents(err) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(d.dropMark(ctx, h.container), d.dropNetwork(ctx, h.network))
}

// hasDependents reports whether a container could not be removed because others are in its namespace.
func hasDependents(err error) bool { return strings.Contains(err.Error(), "dependent containers") }

// sandboxOf returns the container whose namespace a task's main container is in, or nothing if that one is gone.
func (d *Driver) sandboxOf(ctx context.Context, h handle) (string, error) {
	c, err := d.look(ctx, h.container)
	if errdefs.IsNotFound(err) || err == nil && c.HostConfig == nil {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	id, _ := strings.CutPrefix(c.HostConfig.NetworkMode, "container:")
	return id, nil
}

// dropSandbox removes a sandbox that was removed while tasks were in it, if this was the last.
func (d *Driver) dropSandbox(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	c, err := d.look(ctx, id)
	if err == nil {
		err = d.readMark(ctx, c)
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil || c.mark != markGone {
		return err
	}
	return d.removeSandbox(ctx, handleOf(id, c.Config.Labels))
}

// sandbox returns the sandbox's container, or NotFound.
func (d *Driver) sandbox(ctx context.Context, h handle) (*inspected, error) {
	c, err := d.look(ctx, h.container)
	if err == nil {
		err = d.readMark(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	if c.Config.Labels[labelKind] != kindSandbox || c.mark == markGone {
		return nil, driver.WithClass(errdefs.ErrNotFound, "the owner has no sandbox %s", h.container)
	}
	return c, nil
}

// ListSandboxes returns the owner's sandboxes, oldest first. See [driver.Sandboxer].
func (d *Driver) ListSandboxes(ctx context.Context, opts driver.ListOptions) ([]driver.Sandbox, error) {
	ctx, done := d.begin(ctx)
	defer done()
	list, err := d.list(ctx, d.filters(kindSandbox, opts.Labels))
	if err != nil {
		return nil, driver.Wrap(ctx, "list sandboxes", "", classify(err))
	}
	all := []driver.Sandbox{}
	for _, c := range list {
		if !has(c.Labels, opts.Labels) {
			continue
		}
		if c.State != stateRunning { // it may have been removed while in use
			if _, err := d.sandbox(ctx, handle{container: c.ID}); errdefs.IsNotFound(err) {
				continue
			}
		}
		id := handleOf(c.ID, c.Labels)
		all = append(all, driver.Sandbox{
			ID: driver.SandboxID(id.String()), Name: c.Labels[labelName], Labels: userLabels(c.Labels), Created: c.Created.UTC(),
		})
	}
	return all, nil
}

// sharedNetwork is the network of tasks and sandboxes with NetworkDefault on root's service. Podman's own has no way to be kept
// apart from those that are isolated. It is made when it is first needed, and stays. (Without root, each has slirp4netns
// or pasta to itself.)
const sharedNetwork = "wharf-default"

// networkName is that of the network of a task or sandbox with NetworkOwn. Podman has some ten thousand subnets to
// give, so each gets one.
func networkName(uid string) string { return "wharf-" + uid }

func (d *Driver) makeNetwork(ctx context.Context, uid string) error {
	return d.makeBridge(ctx, networkName(uid), map[string]string{labelOwner: d.owner, labelKind: kindNetwork, labelUID: uid})
}

// makeSharedNetwork makes the network of NetworkDefault, if nobody has meanwhile.
func (d *Driver) makeSharedNetwork(ctx context.Context) error {
	err := d.makeBridge(ctx, sharedNetwork, map[string]string{labelKind: kindNetwork})
	if errdefs.IsConflict(err) {
		return nil
	}
	return err
}

func (d *Driver) makeBridge(ctx context.Context, name string, labels map[string]string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	return d.api.call(ctx, "POST", "/networks/create", nil, map[string]any{
		"name": name, "driver": "bridge", "options": map[string]string{"isolate": "true"}, "labels": labels,
	}, nil)
}

// dropNetwork removes a network; one that is not there is no error.
func (d *Driver) dropNetwork(ctx context.Context, uid string) error {
	if uid == "" {
		return nil
	}
	err := d.api.call(ctx, "DELETE", "/networks/"+networkName(uid), url.Values{"force": {"true"}}, nil, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
