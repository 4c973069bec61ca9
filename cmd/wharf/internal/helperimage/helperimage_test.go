package helperimage

import (
	"archive/tar"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// build builds the helper for an architecture.
func build(t *testing.T, arch string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "helper-"+arch)
	cmd := exec.Command("go", "build", "-o", file, "github.com/wharfci/wharf/driver/kubernetes/helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// holds checks that an image has the program, and nothing else.
func holds(t *testing.T, img v1.Image, arch, program string) {
	t.Helper()
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.OS != "linux" || cfg.Architecture != arch {
		t.Errorf("the image is for %s/%s, want linux/%s", cfg.OS, cfg.Architecture, arch)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v; want one", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := tar.NewReader(r)
	h, err := files.Next()
	if err != nil || h.Name != "helper" || h.Mode != 0o755 {
		t.Fatalf("the first file is %+v, %v", h, err)
	}
	got, err := io.ReadAll(files)
	want, wantErr := os.ReadFile(program)
	if err != nil || wantErr != nil || string(got) != string(want) {
		t.Errorf("the program of %d bytes is not that of %d (%v, %v)", len(got), len(want), err, wantErr)
	}
	if _, err := files.Next(); err != io.EOF {
		t.Errorf("after the program: %v; want the end", err)
	}
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	programs := map[string]string{"amd64": build(t, "amd64"), "arm64": build(t, "arm64")}
	images, err := Make([]string{programs["amd64"], programs["arm64"]})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/wharf/helper:1")
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := images.Push(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := name.NewDigest(pushed)
	if err != nil {
		t.Fatalf("%q: %v", pushed, err)
	}
	for arch, program := range programs {
		for _, ref := range []name.Reference{tag, digest} {
			img, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
			if err != nil {
				t.Fatalf("%s for %s: %v", ref, arch, err)
			}
			holds(t, img, arch, program)
		}
	}
}

func TestSave(t *testing.T) {
	program := build(t, "arm64")
	images, err := Make([]string{program})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("localhost/wharf/helper:1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "helper.tar")
	if err := images.Save(file, tag); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, img, "arm64", program)
}

func TestMakeRefuses(t *testing.T) {
	text, program := filepath.Join(t.TempDir(), "text"), build(t, "amd64")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for want, programs := range map[string][]string{
		"is no program for Linux":            {text},
		"does not exist":                     {"none"},
		"there is another program for amd64": {program, program},
	} {
		if _, err := Make(programs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", programs, err, want)
		}
	}
}
