// Package helperimage makes the image of the program that the Kubernetes driver runs in pods, and takes it to where nodes find it.
package helperimage

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	registry "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/wharfci/wharf/cmd/wharf/internal/program"
)

// Images are those of the helper, one for each architecture.
type Images struct {
	archs []string
	all   map[string]registry.Image
}

// Make makes the images of programs: files with the helper, each for another architecture.
func Make(programs []string) (Images, error) {
	made := Images{all: map[string]registry.Image{}}
	for _, file := range programs {
		arch, err := program.Arch(file)
		if err != nil {
			return made, fmt.Errorf("%s %w", file, err)
		}
		if made.all[arch] != nil {
			return made, fmt.Errorf("%s: there is another program for %s", file, arch)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return made, err
		}
		if made.all[arch], err = image(arch, content); err != nil {
			return made, fmt.Errorf("%s: %w", file, err)
		}
		made.archs = append(made.archs, arch)
	}
	return made, nil
}

// image holds the program as /helper, and nothing else.
func image(arch string, content []byte) (registry.Image, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "helper", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), l)
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Config.Entrypoint = "linux", arch, []string{"/helper"}
	return mutate.ConfigFile(img, cfg)
}

// Push puts the images in their registry under one name, and returns the name with its digest. The credentials are those of the file of
// the Docker and Podman command lines. A registry of this machine is spoken to without TLS.
func (i Images) Push(ctx context.Context, tag name.Tag) (string, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range i.archs {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: i.all[arch], Descriptor: registry.Descriptor{Platform: &registry.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("wharf")); err != nil {
		return "", err
	}
	digest, err := index.Digest()
	return tag.Name() + "@" + digest.String(), err
}

// Save writes the first image as "docker save" does, for "kind load image-archive", "ctr images import" and the like, which take one architecture.
func (i Images) Save(file string, tag name.Tag) error {
	return tarball.WriteToFile(file, tag, i.all[i.archs[0]])
}
