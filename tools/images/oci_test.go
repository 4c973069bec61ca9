package main

import (
	"bytes"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// forTwo are recipes of an image for two platforms, whose file tells which.
func forTwo() []recipe {
	var all []recipe
	for _, arch := range []string{"amd64", "arm64"} {
		r := testRecipe(func(l *layer) error {
			l.file("arch", 0o644, []byte(arch))
			return nil
		})
		r.arch, r.at, r.entrypoint, r.labels = arch, time.Unix(1234567890, 0), []string{"/tool"}, map[string]string{"of": arch}
		all = append(all, r)
	}
	return all
}

// unpack writes the files of an archive to a directory.
func unpack(t *testing.T, archive string) layout.Path {
	t.Helper()
	dir := t.TempDir()
	for name, text := range contents(t, archive) {
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return layout.Path(dir)
}

// holds checks that an image is for the architecture.
func holds(t *testing.T, img v1.Image, arch string) {
	t.Helper()
	if err := validate.Image(img); err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Architecture != arch || cfg.OS != "linux" || cfg.Config.Labels["of"] != arch || cfg.Created.Unix() != 1234567890 || len(cfg.Config.Cmd) > 0 {
		t.Errorf("%+v; want it for %s", cfg, arch)
	}
	if diff := cmp.Diff([]string{"/tool"}, cfg.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"arch": arch}, contents(t, file)); diff != "" {
		t.Error(diff)
	}
}

// TestLayoutIsPushed takes the archive of all platforms to a registry, and from there for each.
func TestLayoutIsPushed(t *testing.T) {
	dir := t.TempDir()
	if err := writeOCI(forTwo(), dir); err != nil {
		t.Fatal(err)
	}
	index, err := unpack(t, filepath.Join(dir, "test.tar")).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Fatal(err)
	}
	top, err := index.IndexManifest()
	if err != nil || len(top.Manifests) != 1 {
		t.Fatalf("%+v, %v; want one entry", top, err)
	}
	want := map[string]string{containerdName: "localhost/wharf/test:1", "org.opencontainers.image.ref.name": "1"}
	if diff := cmp.Diff(want, top.Manifests[0].Annotations); diff != "" {
		t.Error(diff)
	}
	all, err := index.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New())
	defer server.Close()
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/wharf/worker:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, all); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		holds(t, img, arch)
	}
}

// TestLayoutOfOnePlatform: it is a layout, and also what old versions of Docker read.
func TestLayoutOfOnePlatform(t *testing.T) {
	dir := t.TempDir()
	if err := writeOCI(forTwo(), dir); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		archive := filepath.Join(dir, "test-"+arch+".tar")
		index, err := unpack(t, archive).ImageIndex()
		if err != nil {
			t.Fatal(err)
		}
		top, err := index.IndexManifest()
		if err != nil || len(top.Manifests) != 1 {
			t.Fatalf("%+v, %v; want one entry", top, err)
		}
		img, err := index.Image(top.Manifests[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		holds(t, img, arch)
		tag := name.MustParseReference("localhost/wharf/test:1").(name.Tag)
		if img, err = tarball.ImageFromPath(archive, &tag); err != nil {
			t.Fatal(err)
		}
		holds(t, img, arch)
	}
}

func TestLayoutIsReproducible(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := writeOCI(forTwo(), dir); err != nil {
			t.Fatal(err)
		}
	}
	same(t, first, second, "test.tar", "test-amd64.tar", "test-arm64.tar")
}

// same checks that the files are the only ones in both directories, and the same.
func same(t *testing.T, first, second string, files ...string) {
	t.Helper()
	for _, dir := range []string{first, second} {
		if there, err := os.ReadDir(dir); err != nil || len(there) != len(files) {
			t.Errorf("%s: %v, %v; want %q", dir, there, err, files)
		}
	}
	for _, f := range files {
		a, err := os.ReadFile(filepath.Join(first, f))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(second, f))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s is not the same the second time", f)
		}
	}
}
