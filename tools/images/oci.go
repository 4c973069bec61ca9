package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	spec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerdName is the annotation by which containerd and Podman name what they load.
const containerdName = "io.containerd.image.name"

// blob is a part of an image layout: content, or that of a file.
type blob struct {
	spec.Descriptor
	content []byte
	file    string
}

// ociImage is an image for one platform.
type ociImage struct {
	blobs    []blob // the manifest is the last
	archived archived
}

func (i ociImage) manifest() spec.Descriptor { return i.blobs[len(i.blobs)-1].Descriptor }

// writeOCI writes an image for several platforms to dir, and prints what it writes: NAME.tar is an image layout with all platforms, NAME-ARCH.tar
// one with a single platform, which can also be read as what "docker save" writes, as old versions of Docker must.
func writeOCI(recipes []recipe, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, ".making-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	name, tag, at := recipes[0].name, recipes[0].tags[0], time.Time{}
	var all []blob
	index := spec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: spec.MediaTypeImageIndex}
	for _, r := range recipes {
		work := filepath.Join(tmp, r.platform())
		if err := os.Mkdir(work, 0o755); err != nil {
			return err
		}
		image, err := r.oci(work)
		if err != nil {
			return err
		}
		if err := writeLayout(filepath.Join(dir, name+"-"+r.platform()+".tar"), tmp, tag, r.time(), image.blobs, []archived{image.archived}); err != nil {
			return err
		}
		all = append(all, image.blobs...)
		index.Manifests = append(index.Manifests, image.manifest())
		if r.time().After(at) {
			at = r.time()
		}
	}
	top, err := jsonBlob(spec.MediaTypeImageIndex, index)
	if err != nil {
		return err
	}
	return writeLayout(filepath.Join(dir, name+".tar"), tmp, tag, at, append(all, top), nil)
}

// oci makes the image's parts, in dir.
func (r recipe) oci(dir string) (ociImage, error) {
	layers, err := r.make(dir)
	if err != nil {
		return ociImage{}, err
	}
	config, err := jsonBlob(spec.MediaTypeImageConfig, r.config(layers))
	if err != nil {
		return ociImage{}, err
	}
	image := ociImage{[]blob{config}, archived{Config: config.path(), RepoTags: r.tags}}
	manifest := spec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: spec.MediaTypeImageManifest, Config: config.Descriptor}
	for _, l := range layers {
		b, err := compressed(l.file)
		if err != nil {
			return image, err
		}
		image.blobs = append(image.blobs, b)
		image.archived.Layers = append(image.archived.Layers, b.path())
		manifest.Layers = append(manifest.Layers, b.Descriptor)
	}
	last, err := jsonBlob(spec.MediaTypeImageManifest, manifest)
	last.Platform = &spec.Platform{OS: "linux", Architecture: r.platform()}
	image.blobs = append(image.blobs, last)
	return image, err
}

// writeLayout writes an archive of an image layout whose only entry is the last blob.
func writeLayout(name, tmp, tag string, at time.Time, blobs []blob, old []archived) error {
	entry := blobs[len(blobs)-1].Descriptor
	entry.Annotations = map[string]string{containerdName: tag, spec.AnnotationRefName: tag[strings.LastIndex(tag, ":")+1:]}
	index, err := json.Marshal(spec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: spec.MediaTypeImageIndex, Manifests: []spec.Descriptor{entry}})
	if err != nil {
		return err
	}
	whole := filepath.Join(tmp, "layout.tar")
	out, err := newLayer(whole, at)
	if err != nil {
		return err
	}
	out.file(spec.ImageLayoutFile, 0o644, []byte(`{"imageLayoutVersion":"`+spec.ImageLayoutVersion+`"}`))
	out.file(spec.ImageIndexFile, 0o644, index)
	if old != nil {
		manifest, err := json.Marshal(old)
		if err != nil {
			return errors.Join(err, out.out.Close())
		}
		out.file("manifest.json", 0o644, manifest)
	}
	out.parents(filepath.Join(spec.ImageBlobsDir, "sha256"), map[string]bool{})
	for _, b := range blobs {
		if b.file != "" {
			out.copyFile(b.path(), b.file)
		} else {
			out.file(b.path(), 0o644, b.content)
		}
	}
	if _, err := out.close(); err != nil {
		return err
	}
	info, err := os.Stat(whole)
	if err != nil {
		return err
	}
	fmt.Printf("%s  %.1f MB  %s\n", name, float64(info.Size())/1e6, entry.Digest)
	return os.Rename(whole, name)
}

// path is where an image layout has the blob.
func (b blob) path() string { return filepath.Join(spec.ImageBlobsDir, "sha256", b.Digest.Encoded()) }

func jsonBlob(media string, v any) (blob, error) {
	content, err := json.Marshal(v)
	return blob{Descriptor: spec.Descriptor{MediaType: media, Digest: digest.FromBytes(content), Size: int64(len(content))}, content: content}, err
}

// compressed writes a layer's file compressed beside it. The same Go makes the same bytes of the same layer.
func compressed(layer string) (b blob, err error) {
	in, err := os.Open(layer)
	if err != nil {
		return blob{}, err
	}
	defer in.Close()
	out, err := os.Create(layer + ".gz")
	if err != nil {
		return blob{}, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	sum := sha256.New()
	w := gzip.NewWriter(io.MultiWriter(out, sum))
	if _, err := io.Copy(w, in); err != nil {
		return blob{}, err
	}
	if err := w.Close(); err != nil {
		return blob{}, err
	}
	size, err := out.Seek(0, io.SeekCurrent)
	return blob{Descriptor: spec.Descriptor{MediaType: spec.MediaTypeImageLayerGzip, Digest: digest.NewDigest(digest.SHA256, sum), Size: size}, file: out.Name()}, err
}
