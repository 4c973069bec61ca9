package drivertest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// client fetches one image from a registry, as much as the suite's registries need of a client.
type client struct {
	http.Client
	base  string // of the repository
	login *driver.Credentials
}

// descriptor points to a part of an image.
type descriptor struct {
	Digest   string
	Platform struct{ Architecture, OS string }
}

// pull is what the runtime in memory fetches images with.
func pull(ctx context.Context, spec driver.PullSpec) (fake.Image, error) {
	host, rest, _ := strings.Cut(spec.Image, "/")
	if !strings.HasPrefix(host, "127.0.0.1:") {
		return fake.Image{}, driver.WithClass(errdefs.ErrNotFound, "no such image: %s", spec.Image)
	}
	repo, version, byDigest := strings.Cut(rest, "@")
	if !byDigest {
		repo, version, _ = strings.Cut(rest, ":")
	}
	c := client{http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://" + host + "/v2/" + repo, spec.Credentials}
	return c.image(ctx, version)
}

func (c *client) image(ctx context.Context, version string) (fake.Image, error) {
	var m struct {
		Manifests, Layers []descriptor
		Config            descriptor
	}
	if err := c.document(ctx, "/manifests/"+version, &m); err != nil {
		return fake.Image{}, err
	}
	if m.Manifests != nil {
		for _, d := range m.Manifests {
			if d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH {
				return c.image(ctx, d.Digest)
			}
		}
		return fake.Image{}, driver.WithClass(errdefs.ErrNotFound, "no manifest for linux/%s in the index", runtime.GOARCH)
	}
	var config struct {
		Config struct{ Entrypoint, Cmd []string }
	}
	if err := c.document(ctx, "/blobs/"+m.Config.Digest, &config); err != nil {
		return fake.Image{}, err
	}
	img := fake.Image{Entrypoint: config.Config.Entrypoint, Cmd: config.Config.Cmd}
	for _, l := range m.Layers {
		packed, err := c.get(ctx, "/blobs/"+l.Digest)
		if err != nil {
			return img, err
		}
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return img, err
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			return img, err
		}
		img.Layers = append(img.Layers, plain)
	}
	return img, nil
}

func (c *client) document(ctx context.Context, path string, v any) error {
	b, err := c.get(ctx, path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	return err
}

// get returns what is at a path of the repository. Its errors have the registry's words.
func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	if c.login != nil {
		req.SetBasicAuth(c.login.Username, c.login.Password)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, driver.WithClass(errdefs.ErrUnavailable, "%v", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	words := fmt.Sprintf("%s: %s", resp.Status, b)
	switch resp.StatusCode {
	case http.StatusOK:
		return b, err
	case http.StatusUnauthorized:
		return nil, driver.WithClass(errdefs.ErrUnauthenticated, "%s", words)
	case http.StatusForbidden:
		return nil, driver.WithClass(errdefs.ErrPermissionDenied, "%s", words)
	case http.StatusNotFound:
		return nil, driver.WithClass(errdefs.ErrNotFound, "%s", words)
	}
	return nil, driver.WithClass(errdefs.ErrUnavailable, "%s", words)
}
