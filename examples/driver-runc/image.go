package runc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/wharfci/wharf/driver"
)

// refFile is where a name's image is written down.
func (d *Driver) refFile(ref name.Reference) string {
	return filepath.Join("refs", fmt.Sprintf("%x", sha256.Sum256([]byte(ref.Name()))))
}

// image returns a container's image, and fetches it if the policy says so. Who wants the same one waits, in whichever process, and
// finds it there.
func (d *Driver) image(ctx context.Context, c *driver.Container) (cfg imageConfig, err error) {
	_, err = reference.ParseDockerRef(c.Image) // stricter than the next
	ref, parseErr := name.ParseReference(c.Image)
	if err := errors.Join(err, parseErr); err != nil {
		return cfg, driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)
	}
	file := d.refFile(ref)
	find := func() error { return readJSON(d.images(""), file, &cfg) }
	if c.Pull != driver.PullAlways {
		if err := find(); err == nil || !errors.Is(err, os.ErrNotExist) {
			return cfg, err
		}
		if c.Pull == driver.PullNever {
			return cfg, driver.WithClass(errdefs.ErrNotFound, "there is no image %s, and its policy is never to fetch it", c.Image)
		}
	}
	l, err := lock(ctx, d.images(file)+".lock")
	if err != nil {
		return cfg, err
	}
	defer l.Close()
	if c.Pull == driver.PullIfNotPresent && find() == nil { // while we waited
		return cfg, nil
	}
	img, err := fetch(ctx, ref, c.Credentials, "linux", d.arch())
	if err != nil {
		return cfg, err
	}
	return d.store(ctx, ref, img)
}

func (d *Driver) arch() string {
	caps, _ := d.caps() // what does not run is found out when it is run
	return caps.Arch
}

func fetch(ctx context.Context, ref name.Reference, login *driver.Credentials, os, arch string) (v1.Image, error) {
	auth := authn.Anonymous
	if login != nil {
		auth = authn.FromConfig(authn.AuthConfig{Username: login.Username, Password: login.Password, IdentityToken: login.Token})
	}
	desc, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuth(auth), remote.WithPlatform(v1.Platform{OS: os, Architecture: arch}))
	if err != nil {
		return nil, refusal(err)
	}
	img, err := desc.Image()
	if err != nil {
		if refused := new(transport.Error); desc.MediaType.IsIndex() && !errors.As(err, &refused) {
			return nil, driver.WithClass(errdefs.ErrNotFound, "%s: %v", ref, err)
		}
		return nil, refusal(err)
	}
	return img, nil
}

// refusal gives a registry's answer its class, and keeps its words.
func refusal(err error) error {
	var class error = errdefs.ErrUnavailable
	if refused := new(transport.Error); errors.As(err, &refused) {
		switch refused.StatusCode {
		case http.StatusNotFound:
			class = errdefs.ErrNotFound
		case http.StatusUnauthorized:
			class = errdefs.ErrUnauthenticated
		case http.StatusForbidden:
			class = errdefs.ErrPermissionDenied
		}
	}
	return &withClass{err, class}
}

// store unpacks an image, unless it is there under another name, and writes down its name.
func (d *Driver) store(ctx context.Context, ref name.Reference, img v1.Image) (cfg imageConfig, err error) {
	id, err := img.ConfigName()
	if err != nil {
		return cfg, refusal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return cfg, refusal(err)
	}
	c := config.Config
	cfg = imageConfig{ID: id.Hex, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User, Dir: c.WorkingDir}
	l, err := lock(ctx, d.images(id.Hex)+".lock")
	if err != nil {
		return cfg, err
	}
	defer l.Close()
	if !exists(d.images(id.Hex), "") {
		if err := d.unpackImage(ctx, img, d.images(id.Hex)); err != nil {
			return cfg, err
		}
	}
	return cfg, writeJSON(d.images("refs"), filepath.Base(d.refFile(ref)), cfg)
}

// unpackImage unpacks the layers over each other; the directory appears when all is there.
func (d *Driver) unpackImage(ctx context.Context, img v1.Image, to string) error {
	dir, err := os.MkdirTemp(d.images(""), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(dir, "rootfs"))
	if err != nil {
		return err
	}
	defer root.Close()
	flat := mutate.Extract(img)
	defer flat.Close()
	if err := unpack(&tree{root: root}, &cancelled{ctx, flat}); err != nil {
		return refusal(err)
	}
	return os.Rename(dir, to)
}

// Load puts the images of a docker-archive, as "docker save" writes it, where Create finds them.
func (d *Driver) Load(ctx context.Context, images io.Reader) error {
	return driver.Wrap(ctx, "load", "", classify(d.load(ctx, images)))
}

func (d *Driver) load(ctx context.Context, images io.Reader) error {
	file, err := os.CreateTemp(d.images(""), "archive-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = io.Copy(file, images)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	open := func() (io.ReadCloser, error) { return os.Open(file.Name()) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		return driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)
	}
	for _, m := range manifest {
		for _, text := range m.RepoTags {
			tag, err := name.NewTag(text)
			if err != nil {
				return driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)
			}
			img, err := tarball.Image(open, &tag)
			if err != nil {
				return driver.WithClass(errdefs.ErrInvalidArgument, "%v", err)
			}
			if _, err := d.store(ctx, tag, img); err != nil {
				return err
			}
		}
	}
	return nil
}

// cancelled is a reader that fails when a context has ended.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}
