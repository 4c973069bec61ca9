//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"runtime"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pauseImage is what tools/withcontainerd names to its daemon.
const pauseImage = "localhost/wharf/kubernetes-pause:1"

// loadPause loads the image that holds a pod's namespaces.
func loadPause(ctx context.Context, program string) error {
	archive, err := pauseArchive(program)
	if err != nil {
		return err
	}
	ctx = namespaces.WithNamespace(ctx, "k8s.io")
	c, err := client.New(os.Getenv("CONTAINERD_ADDRESS"))
	if err != nil {
		return err
	}
	defer c.Close()
	images, err := c.Import(ctx, archive)
	if err != nil {
		return err
	}
	for _, i := range images {
		if err := client.NewImage(c, i).Unpack(ctx, ""); err != nil {
			return err
		}
	}
	return nil
}

// pauseArchive is a docker-archive of an image with that one program.
func pauseArchive(program string) (io.Reader, error) {
	code, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(code))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(code); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint, config.Config.User = []string{"/pause"}, "65535:65535"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	ref, err := name.ParseReference(pauseImage)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	return &archive, tarball.Write(ref, img, &archive)
}
