package fake

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// Image is what a container begins with.
type Image struct {
	// Entrypoint, Cmd, Env ("NAME=value" each), User and Dir are the image's defaults.
	Entrypoint, Cmd, Env []string
	User, Dir            string
	// Layers are tar streams, the lowest first.
	Layers [][]byte
	// Size is what a pull transfers, in bytes; 0 is the size of the layers.
	Size int64
	// Digest identifies the image; it may be empty.
	Digest string

	root *node
}

// Load puts the images of a docker-archive, as "docker save" writes it, into the runtime.
func (rt *Runtime) Load(r io.Reader) error {
	files := map[string][]byte{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if files[h.Name], err = io.ReadAll(in); err != nil {
			return err
		}
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	for _, m := range manifest {
		var config struct {
			Config struct {
				User, WorkingDir     string
				Env, Entrypoint, Cmd []string
			}
		}
		if err := json.Unmarshal(files[m.Config], &config); err != nil {
			return fmt.Errorf("%s: %w", m.Config, err)
		}
		c := config.Config
		img := Image{Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User, Dir: c.WorkingDir}
		for _, l := range m.Layers {
			img.Layers = append(img.Layers, files[l])
		}
		for _, tag := range m.RepoTags {
			if err := rt.AddImage(tag, img); err != nil {
				return fmt.Errorf("%s: %w", tag, err)
			}
		}
	}
	return nil
}

// AddImage makes the runtime have an image of that name.
func (rt *Runtime) AddImage(name string, img Image) error {
	v := &view{disk: &rt.disk, root: rt.disk.dir(0o755)}
	for _, layer := range img.Layers {
		if err := v.applyLayer(layer); err != nil {
			return err
		}
		if img.Size == 0 {
			img.Size += int64(len(layer))
		}
	}
	img.root = v.root
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.images[name] = &img
	return nil
}

// RemoveImage makes the runtime not have an image of that name. Tasks that were made from it stay as they are.
func (rt *Runtime) RemoveImage(name string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	delete(rt.images, name)
}

// applyLayer unpacks a layer. An entry ".wh.NAME" deletes NAME of the layers below.
func (v *view) applyLayer(layer []byte) error {
	times := map[*node]time.Time{}
	for in := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		dir, base := path.Split(h.Name)
		if gone, ok := strings.CutPrefix(base, ".wh."); ok {
			v.disk.mu.Lock()
			if at, err := v.find("/"+dir, true, root); err == nil && at.node != nil {
				delete(at.node.children, gone)
			}
			v.disk.mu.Unlock()
			continue
		}
		if err := v.unpackEntry("/", h, in, times); err != nil {
			return fmt.Errorf("layer entry %q: %w", h.Name, err)
		}
	}
}
