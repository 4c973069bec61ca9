package docker

import (
	"bytes"
	"context"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver/internal/bare"
)

// The image of containers that only hold a namespace or a volume, or connect to a port, is made here, so that no registry is needed.

// loadPause puts the image into the daemon.
func (d *Driver) loadPause(ctx context.Context) error {
	caps, err := d.caps.Do(ctx, d.capabilities)
	if err != nil {
		return err
	}
	image, err := bare.Pause.Archive(caps.Arch)
	if err != nil {
		return err
	}
	res, err := d.api.ImageLoad(ctx, bytes.NewReader(image), client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer res.Close()
	_, err = io.Copy(io.Discard, res)
	return err
}

// needPause puts it there if it is not: with an image that is fetched ahead of a task, so that the first task does not wait for that either.
func (d *Driver) needPause(ctx context.Context) (loaded bool, err error) {
	if _, err = d.api.ImageInspect(ctx, bare.Pause.Image()); errdefs.IsNotFound(err) {
		return true, d.loadPause(ctx)
	}
	return false, err
}

// pauseOptions is a container of the image: it may do nothing, and logs nothing.
func pauseOptions(name string, labels map[string]string, hostname string, h container.HostConfig) client.ContainerCreateOptions {
	h.LogConfig = container.LogConfig{Type: "none"}
	h.CapDrop = []string{"ALL"}
	h.ReadonlyRootfs = true
	h.SecurityOpt = []string{"no-new-privileges"}
	cfg := &container.Config{Image: bare.Pause.Image(), Labels: labels, Hostname: hostname}
	return client.ContainerCreateOptions{Name: name, Config: cfg, HostConfig: &h}
}
