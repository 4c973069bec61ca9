package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	spec "github.com/opencontainers/image-spec/specs-go/v1"
)

// recipeVersion changes when the same ingredients make another image.
const recipeVersion = "2"

// recipe is how an image is made.
type recipe struct {
	name        string
	tags        []string
	arch        string    // "" is this machine's
	at          time.Time // of all files, and when the image was made
	env         []string
	entrypoint  []string // instead of a shell as the command
	labels      map[string]string
	ingredients []string // what decides the content, for the key
	layers      []func(*layer) error
}

// key is the same for the same content.
func (r *recipe) key() string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%q %s %q %q", recipeVersion, r.platform(), r.ingredients, append(r.env, r.tags...))))
	return fmt.Sprintf("%x", sum[:12])
}

// platform is the architecture, as Go and images name it.
func (r *recipe) platform() string { return cmp.Or(r.arch, runtime.GOARCH) }

// cached returns the image's archive, which is made if the cache does not have it. Older archives of the same image go.
func (r *recipe) cached() (string, error) {
	dir, err := cacheDir("images")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, r.name+"-"+r.key()+".tar")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	old, _ := filepath.Glob(filepath.Join(dir, r.name+"-*.tar"))
	for _, o := range old {
		os.Remove(o)
	}
	return file, r.write(file)
}

// cacheDir returns a directory of that name in the user's cache directory, and makes it.
func cacheDir(name string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "wharf-ci", name)
	return dir, os.MkdirAll(dir, 0o755)
}

// write makes the archive: a file of that name is always whole.
func (r *recipe) write(name string) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(name), ".making-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	layers, err := r.make(dir)
	if err != nil {
		return err
	}
	whole := filepath.Join(dir, "image.tar")
	if err := r.archive(whole, layers); err != nil {
		return err
	}
	return os.Rename(whole, name)
}

// make writes the layers to files in dir.
func (r *recipe) make(dir string) ([]madeLayer, error) {
	var layers []madeLayer
	for i, fill := range r.layers {
		l, err := makeLayer(filepath.Join(dir, fmt.Sprintf("layer%d.tar", i)), r.time(), fill)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// time is that of the files: 1970 unless the recipe says something else.
func (r *recipe) time() time.Time {
	if r.at.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return r.at.UTC()
}

// archived is an image in the manifest of an archive as "docker save" writes it, with the names of files in that.
type archived struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive writes the layers, the image's configuration and the manifest.
func (r *recipe) archive(name string, layers []madeLayer) error {
	config, err := json.Marshal(r.config(layers))
	if err != nil {
		return err
	}
	e := archived{Config: "config.json", RepoTags: r.tags}
	for _, l := range layers {
		e.Layers = append(e.Layers, filepath.Base(l.file))
	}
	manifest, err := json.Marshal([]archived{e})
	if err != nil {
		return err
	}
	out, err := newLayer(name, r.time())
	if err != nil {
		return err
	}
	out.file("manifest.json", 0o644, manifest)
	out.file("config.json", 0o644, config)
	for _, l := range layers {
		out.copyFile(filepath.Base(l.file), l.file)
	}
	_, err = out.close()
	return err
}

// config is the image's configuration.
func (r *recipe) config(layers []madeLayer) spec.Image {
	made := r.time()
	image := spec.Image{Created: &made, Platform: spec.Platform{OS: "linux", Architecture: r.platform()}}
	image.Config.Env = slices.Concat([]string{"PATH=" + r.path()}, r.env)
	if image.Config.Entrypoint = r.entrypoint; r.entrypoint == nil {
		image.Config.Cmd = []string{"sh"}
	}
	image.Config.Labels = map[string]string{keyLabel: r.key()}
	maps.Copy(image.Config.Labels, r.labels)
	image.RootFS.Type = "layers"
	for _, l := range layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, digest.NewDigestFromEncoded(digest.SHA256, l.digest))
		image.History = append(image.History, spec.History{Created: &made, CreatedBy: "tools/images"})
	}
	return image
}

func (r *recipe) path() string {
	const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if r.name == "busybox" || r.entrypoint != nil {
		return path
	}
	return "/go/bin:" + goDir + "/bin:" + path
}

// loadError returns the error that the daemon's answer to a load holds, or nil.
func loadError(answer []byte) error {
	for line := range bytes.Lines(answer) {
		var m struct{ Error string }
		if json.Unmarshal(line, &m) == nil && m.Error != "" {
			return errors.New(m.Error)
		}
	}
	return nil
}
