package docker

import (
	"context"
	"errors"
	"regexp"
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

// startOnNetwork starts a container, making the network of NetworkOwn anew as often as its last user goes meanwhile.
func (d *Driver) startOnNetwork(ctx context.Context, id string) error {
	start := func() error {
		_, err := d.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	}
	err := start()
	if !missingOwnNetwork(err) {
		return err
	}
	for deadline := time.Now().Add(networkTime); missingOwnNetwork(err) && ctx.Err() == nil; {
		if time.Now().After(deadline) {
			err = driver.WithClass(errdefs.ErrUnavailable, "the network %s is removed again and again: %v", ownNetwork, err)
			break
		}
		if err = d.makeOwnNetwork(ctx); err == nil {
			err = start()
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

// noOwnNetwork is how the daemon says that the network is not there, by its name, or by its ID if it went while a container came to it.
var noOwnNetwork = regexp.MustCompile("network (" + ownNetwork + "|[0-9a-f]{64}) not found")

func missingOwnNetwork(err error) bool { return err != nil && noOwnNetwork.MatchString(err.Error()) }

// networkTime is how long the network is made anew while others remove it, and how long the daemon may refuse to remove it though nothing uses it.
const networkTime = 10 * time.Second

// makeOwnNetwork makes it, also when ctx ends meanwhile: the daemon would, and nobody would remove it.
func (d *Driver) makeOwnNetwork(ctx context.Context) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	err := d.patiently(ctx, func() error { // an answer that is lost may be that it was made, and then it is there
		_, err := d.api.NetworkCreate(ctx, ownNetwork, client.NetworkCreateOptions{
			Driver: "bridge",
			Options: map[string]string{
				"com.docker.network.bridge.enable_icc": "false",
				"com.docker.network.bridge.name":       ownBridge,
			},
			Labels: map[string]string{labelKind: "network"},
		})
		return err
	})
	if err != nil && (errdefs.IsConflict(err) || strings.Contains(err.Error(), ownBridge) || strings.Contains(err.Error(), "already exists")) {
		return nil // someone else was faster
	}
	return err
}

// dropOwnNetwork removes the network if nothing uses it, also when ctx has ended. The daemon refuses that while a container is on it, whose own removal drops
// it, and for a moment after the last one has gone, when it lists no container or an endpoint without one.
func (d *Driver) dropOwnNetwork(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkTime)
	defer cancel()
	for pause := 50 * time.Millisecond; d.removeOwnNetwork(ctx) != nil && ctx.Err() == nil; pause = min(2*pause, time.Second) {
		var found client.NetworkInspectResult
		err := d.patiently(ctx, func() (err error) {
			found, err = d.api.NetworkInspect(ctx, ownNetwork, client.NetworkInspectOptions{})
			return err
		})
		if errdefs.IsNotFound(err) {
			return
		}
		for id := range found.Network.Containers {
			if !strings.HasPrefix(id, "ep-") {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// removeOwnNetwork asks for it once.
func (d *Driver) removeOwnNetwork(ctx context.Context) error {
	err := d.patiently(ctx, func() error {
		_, err := d.api.NetworkRemove(ctx, ownNetwork, client.NetworkRemoveOptions{})
		return err
	})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
