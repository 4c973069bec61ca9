package drivertest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The images of the suite.
const (
	// Image holds one file, /testprog, which is its entry point, and sets nothing else.
	Image = "localhost/wharf/testprog:1"
	// UsersImage also has users, a home directory and a file that cannot be executed, and sets
	// entry point, command, environment, user and working directory.
	UsersImage = "localhost/wharf/testprog-users:1"
)

// ImageOptions say how to build the images.
type ImageOptions struct {
	// Arch is the architecture, as in GOARCH; empty is what the driver's Capabilities say.
	Arch string
	// Program is the path of a static Linux binary that calls testprog.Main. If it is empty,
	// the binary is built with the go command from the module that the process was started in.
	Program string
	// Temporary gives the images names that no other run has, and removes them when the suite has ended. Otherwise they
	// stay, and the next run replaces them.
	Temporary bool

	tag string // empty is that of Image
}

// imageNames returns the names of the images with another tag.
func imageNames(tag string) (image, users string) {
	return strings.TrimSuffix(Image, "1") + tag, strings.TrimSuffix(UsersImage, "1") + tag
}

// program is the import path of the test program's main package.
const program = "github.com/wharfci/wharf/driver/drivertest/testprog/bin"

// BuildImages returns a docker-archive of the suite's images. The caller closes it. The same
// sources give the same images.
func BuildImages(ctx context.Context, opts ImageOptions) (io.ReadCloser, error) {
	if opts.Arch == "" {
		opts.Arch = runtime.GOARCH
	}
	binary, err := programBinary(ctx, opts)
	if err != nil {
		return nil, err
	}
	archive, err := imageArchive(opts, binary)
	if err != nil {
		return nil, fmt.Errorf("write the images: %w", err)
	}
	return io.NopCloser(archive), nil
}

func programBinary(ctx context.Context, opts ImageOptions) ([]byte, error) {
	if opts.Program != "" {
		return os.ReadFile(opts.Program)
	}
	dir, err := os.MkdirTemp("", "testprog")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "testprog")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", file, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+opts.Arch, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w\n%s\n(without the go command, set Harness.Images.Program)", program, err, out)
	}
	return os.ReadFile(file)
}

// imageConfig is the part of an image's configuration that the suite sets.
type imageConfig struct {
	User       string   `json:",omitempty"`
	Env        []string `json:",omitempty"`
	Entrypoint []string `json:",omitempty"`
	Cmd        []string `json:",omitempty"`
	WorkingDir string   `json:",omitempty"`
}

// UsersImage's settings, which cases look for.
var usersConfig = imageConfig{
	User:       "builder",
	Env:        []string{"PATH=/bin:/usr/bin", "FROM_IMAGE=image value", "BOTH=image"},
	Entrypoint: []string{"/testprog", "args", "from entrypoint"},
	Cmd:        []string{"from", "command"},
	WorkingDir: "/home/builder",
}

var usersFiles = []tar.Header{
	{Name: "etc/", Mode: 0o755},
	{Name: "home/", Mode: 0o755},
	{Name: "home/builder/", Mode: 0o755, Uid: 1000, Gid: 1000},
	{Name: "tmp/", Mode: 0o1777},
}

var usersContent = map[string]string{
	"etc/passwd":     "root:x:0:0:root:/root:/testprog\nbuilder:x:1000:1000::/home/builder:/testprog\nguest:x:2000:3000::/tmp:/testprog\n",
	"etc/group":      "root:x:0:\nbuilder:x:1000:\nstaff:x:3000:\nextra:x:4000:builder\n",
	"not-executable": "text\n",
}

// imageArchive writes what "docker save" would: a manifest, a configuration for each image, and layers.
func imageArchive(opts ImageOptions, binary []byte) (io.Reader, error) {
	base, err := layer([]tar.Header{{Name: "testprog", Mode: 0o755}}, map[string]string{"testprog": string(binary)})
	if err != nil {
		return nil, err
	}
	headers := usersFiles
	for _, name := range []string{"etc/group", "etc/passwd", "not-executable"} {
		headers = append(headers, tar.Header{Name: name, Mode: 0o644})
	}
	users, err := layer(headers, usersContent)
	if err != nil {
		return nil, err
	}
	image, usersImage := imageNames(cmp.Or(opts.tag, "1"))
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	manifest := []map[string]any{}
	written := map[string]bool{}
	for _, img := range []struct {
		name   string
		config imageConfig
		layers [][]byte
	}{
		{image, imageConfig{Entrypoint: []string{"/testprog"}}, [][]byte{base}},
		{usersImage, usersConfig, [][]byte{base, users}},
	} {
		entry, err := addImage(w, opts.Arch, img.name, img.config, img.layers, written)
		if err != nil {
			return nil, err
		}
		manifest = append(manifest, entry)
	}
	b, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	if err := addFile(w, "manifest.json", b); err != nil {
		return nil, err
	}
	return &out, w.Close()
}

func addImage(w *tar.Writer, arch, name string, cfg imageConfig, layers [][]byte, written map[string]bool) (map[string]any, error) {
	var diffs, files []string
	for _, l := range layers {
		sum := fmt.Sprintf("%x", sha256.Sum256(l))
		diffs = append(diffs, "sha256:"+sum)
		file := sum + "/layer.tar"
		files = append(files, file)
		if !written[file] {
			written[file] = true
			if err := addFile(w, file, l); err != nil {
				return nil, err
			}
		}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "config": cfg, "created": "1970-01-01T00:00:00Z",
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		return nil, err
	}
	file := fmt.Sprintf("%x.json", sha256.Sum256(config))
	return map[string]any{"Config": file, "RepoTags": []string{name}, "Layers": files}, addFile(w, file, config)
}

func addFile(w *tar.Writer, name string, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// layer writes the tar of one layer. Names that end in a slash are directories.
func layer(headers []tar.Header, content map[string]string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		h.Size = int64(len(content[h.Name]))
		h.ModTime = time.Unix(0, 0)
		h.Typeflag = tar.TypeReg
		if h.Name[len(h.Name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, content[h.Name]); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
