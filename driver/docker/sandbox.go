package docker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// CreateSandbox makes a network namespace that tasks join. See [driver.Sandboxer].
func (d *Driver) CreateSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	ctx, done := d.begin(ctx)
	defer done()
	id, err := d.createSandbox(ctx, spec)
	return id, driver.Wrap(ctx, "create sandbox", spec.Name, classify(err))
}

func (d *Driver) createSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	host := container.HostConfig{NetworkMode: "bridge"}
	if err := errors.Join(driver.ValidName(spec.Name), driver.ValidLabels(spec.Labels), networkConfig(&host, spec.Network)); err != nil {
		return "", err
	}
	m := &maker{Driver: d, spec: &driver.TaskSpec{Network: spec.Network}, uid: newUID()}
	labels := d.labels(kindSandbox, spec.Name, m.uid, spec.Labels)
	if spec.Network.Mode == driver.NetworkOwn {
		labels[labelOwnNet] = "true"
	}
	id, err := m.create(ctx, nil, func() client.ContainerCreateOptions {
		return pauseOptions("wharf_"+d.owner+"__sandbox_"+spec.Name, labels, spec.Network.Hostname, host)
	})
	if err == nil {
		err = m.startOnNetwork(ctx, id)
	}
	if err != nil {
		return "", errors.Join(err, m.undo(ctx))
	}
	return driver.SandboxID(handleOf(id, labels).String()), nil
}

// startOnNetwork starts a container, making the network of NetworkOwn anew if its last user has
// gone meanwhile.
func (d *Driver) startOnNetwork(ctx context.Context, id string) error {
	_, err := d.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	if !missingOwnNetwork(err) {
		return err
	}
	for range 3 {
		if err := d.makeOwnNetwork(ctx); err != nil {
			return err
		}
		if _, err = d.api.ContainerStart(ctx, id, client.ContainerStartOptions{}); !missingOwnNetwork(err) {
			break
		}
	}
	if err != nil {
		d.dropOwnNetwork(ctx) // whoever has removed the container meanwhile has looked for the network before we made it
	}
	return err
}

// RemoveSandbox removes a sandbox, whatever uses it. See [driver.Sandboxer].
func (d *Driver) RemoveSandbox(ctx context.Context, id driver.SandboxID) error {
	ctx, done := d.begin(ctx)
	defer done()
	h, err := d.parse(string(id))
	if err != nil {
		return nil // nothing that exists has such a handle
	}
	err = d.removeContainer(ctx, h.container)
	if err == nil && h.own {
		d.dropOwnNetwork(ctx)
	}
	return driver.Wrap(ctx, "remove sandbox", string(id), classify(err))
}

// sandbox returns the sandbox's container, or NotFound.
func (d *Driver) sandbox(ctx context.Context, h handle) (container.InspectResponse, error) {
	res, err := d.api.ContainerInspect(ctx, h.container, client.ContainerInspectOptions{})
	if err != nil {
		return res.Container, err
	}
	if l := res.Container.Config.Labels; l[labelKind] != kindSandbox || l[labelOwner] != d.owner {
		return res.Container, driver.WithClass(errdefs.ErrNotFound, "the owner has no sandbox %s", h.container)
	}
	return res.Container, nil
}

// ListSandboxes returns the owner's sandboxes, oldest first. See [driver.Sandboxer].
func (d *Driver) ListSandboxes(ctx context.Context, opts driver.ListOptions) ([]driver.Sandbox, error) {
	ctx, done := d.begin(ctx)
	defer done()
	res, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.filters(kindSandbox, opts.Labels)})
	if err != nil {
		return nil, driver.Wrap(ctx, "list sandboxes", "", classify(err))
	}
	all := []driver.Sandbox{}
	for _, c := range slices.Backward(res.Items) { // the daemon lists the newest first
		id := handleOf(c.ID, c.Labels)
		all = append(all, driver.Sandbox{
			ID: driver.SandboxID(id.String()), Name: c.Labels[labelName], Labels: userLabels(c.Labels), Created: time.Unix(c.Created, 0).UTC(),
		})
	}
	return all, nil
}

// ownNetwork is the network of NetworkOwn: one bridge for all, on which no container
// reaches another. A network for each task would use up Docker's address pools, of which there
// are about 31 (moby issue 23971).
const ownNetwork = "wharf-own"

// ownBridge is its interface's name. Docker admits a second network of the same name, but
// no second one with this interface.
const ownBridge = "wharf-own0"

func missingOwnNetwork(err error) bool {
	return err != nil && strings.Contains(err.Error(), "network "+ownNetwork+" not found")
}

// makeOwnNetwork makes it, also when ctx ends meanwhile: the daemon would, and nobody would remove it.
func (d *Driver) makeOwnNetwork(ctx context.Context) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	_, err := d.api.NetworkCreate(ctx, ownNetwork, client.NetworkCreateOptions{
		Driver: "bridge",
		Options: map[string]string{
			"com.docker.network.bridge.enable_icc": "false",
			"com.docker.network.bridge.name":       ownBridge,
		},
		Labels: map[string]string{labelKind: "network"},
	})
	if err != nil && (errdefs.IsConflict(err) || strings.Contains(err.Error(), ownBridge) || strings.Contains(err.Error(), "already exists")) {
		return nil // someone else was faster
	}
	return err
}

// dropOwnNetwork removes the network if nothing uses it, also when ctx has ended. The daemon refuses that while a container is on it, whose own removal drops
// it, and for a moment after the last one has gone, when it lists no container or an endpoint without one.
func (d *Driver) dropOwnNetwork(ctx context.Context) {
	ctx, cancel := detached(ctx)
	defer cancel()
	for pause := 50 * time.Millisecond; pause < 2*time.Second; pause *= 2 {
		err := d.patiently(ctx, func() error {
			_, err := d.api.NetworkRemove(ctx, ownNetwork, client.NetworkRemoveOptions{})
			return err
		})
		if err == nil || errdefs.IsNotFound(err) {
			return
		}
		found, err := d.api.NetworkInspect(ctx, ownNetwork, client.NetworkInspectOptions{})
		if err != nil {
			return
		}
		for id := range found.Network.Containers {
			if !strings.HasPrefix(id, "ep-") {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
