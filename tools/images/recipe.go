package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// recipeVersion changes when the same ingredients make another image.
const recipeVersion = "1"

// recipe is how an image is made.
type recipe struct {
	name        string
	tags        []string
	env         []string
	ingredients []string // what decides the content, for the key
	layers      []func(*layer) error
}

// key is the same for the same content.
func (r *recipe) key() string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%q %s %q %q", recipeVersion, runtime.GOARCH, r.ingredients, append(r.env, r.tags...))))
	return fmt.Sprintf("%x", sum[:12])
}

// cached returns the image's archive, which is made if the cache does not have it. Older archives of the same image go.
func (r *recipe) cached() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "wharf-ci", "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
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

// write makes the archive: a file of that name is always whole.
func (r *recipe) write(name string) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(name), ".making-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var layers []madeLayer
	for i, fill := range r.layers {
		l, err := makeLayer(filepath.Join(dir, fmt.Sprintf("layer%d.tar", i)), fill)
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	whole := filepath.Join(dir, "image.tar")
	if err := r.archive(whole, layers); err != nil {
		return err
	}
	return os.Rename(whole, name)
}

// archive writes the layers, the image's configuration and the manifest.
func (r *recipe) archive(name string, layers []madeLayer) error {
	config, err := json.Marshal(r.config(layers))
	if err != nil {
		return err
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	e := entry{Config: "config.json", RepoTags: r.tags}
	for _, l := range layers {
		e.Layers = append(e.Layers, filepath.Base(l.file))
	}
	manifest, err := json.Marshal([]entry{e})
	if err != nil {
		return err
	}
	out, err := newLayer(name)
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

// config is the image's configuration as the OCI image specification has it.
func (r *recipe) config(layers []madeLayer) any {
	type history struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
	epoch := time.Unix(0, 0).UTC()
	var ids []string
	var past []history
	for _, l := range layers {
		ids = append(ids, "sha256:"+l.digest)
		past = append(past, history{epoch, "tools/images"})
	}
	return map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": epoch,
		"config": map[string]any{
			"Env":    slices.Concat([]string{"PATH=" + r.path()}, r.env),
			"Cmd":    []string{"sh"},
			"Labels": map[string]string{keyLabel: r.key()},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": ids},
		"history": past,
	}
}

func (r *recipe) path() string {
	const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if r.name == "busybox" {
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
