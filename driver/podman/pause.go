package podman

import (
	"bytes"
	"context"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver/internal/bare"
)

// The images of helpers are made here, so that no registry is needed.

// loadHelper puts the image of a helper into the service.
func (d *Driver) loadHelper(ctx context.Context, p bare.Program) error {
	caps, err := d.caps.Do(ctx, d.capabilities)
	if err != nil {
		return err
	}
	image, err := p.Archive(caps.Arch)
	if err != nil {
		return err
	}
	return d.api.call(ctx, "POST", "/images/load", nil, bytes.NewReader(image), nil)
}

// needPause puts that of what holds a namespace there if it is not: with an image that is fetched ahead of a task, so that the first task does not wait for that either.
func (d *Driver) needPause(ctx context.Context) (loaded bool, err error) {
	if _, err = d.image(ctx, bare.Pause.Image()); errdefs.IsNotFound(err) {
		return true, d.loadHelper(ctx, bare.Pause)
	}
	return false, err
}

// pauseSpec is a container that holds a namespace or a volume, or connects to a port.
func pauseSpec(name string, labels map[string]string, network containerSpec) containerSpec {
	return helperSpec(bare.Pause, name, labels, network)
}

// helperSpec is a container of a helper: it may do nothing, and logs nothing.
func helperSpec(p bare.Program, name string, labels map[string]string, network containerSpec) containerSpec {
	s := network
	s.Name, s.Labels, s.Image = name, labels, p.Image()
	s.StopSignal, s.Systemd, s.Log = sigterm, "false", logConfig{Driver: "none"}
	s.CapDrop, s.NoNewPrivileges, s.ReadOnlyRoot = []string{"ALL"}, true, true
	return s
}
