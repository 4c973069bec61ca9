package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

func brokenImages() map[string]breakage {
	policy := func(p driver.PullPolicy) breakage {
		return mainContainer(func(c *driver.Container) {
			if c.Image != drivertest.Image {
				c.Pull = p
			}
		})
	}
	return map[string]breakage{
		"missing":            wordless,
		"denied":             createError(errdefs.ErrPermissionDenied, errdefs.ErrUnknown),
		"malformed":          createError(errdefs.ErrInvalidArgument, errdefs.ErrNotFound),
		"wrong-architecture": createError(errdefs.ErrNotFound, errdefs.ErrInternal),
		"no-registry":        createError(errdefs.ErrUnavailable, errdefs.ErrNotFound),
		"if-not-present":     policy(driver.PullAlways),
		"always":             policy(driver.PullIfNotPresent),
		"never":              policy(driver.PullIfNotPresent),
		"credentials-right":  mainContainer(func(c *driver.Container) { c.Credentials = nil }),
		"credentials-wrong":  tellsPassword,
		"credentials-none":   createError(errdefs.ErrUnauthenticated, errdefs.ErrNotFound),
		"ten-at-once":        oneByOne,
		"by-digest": mainContainer(func(c *driver.Container) {
			if i := len(c.Image) - len("@sha256:") - 64; i > 0 && c.Image[i] == '@' {
				c.Image = c.Image[:i] + ":1"
			}
		}),
		"progress": silentPull,
		"platform": mainContainer(func(c *driver.Container) { c.Image, c.Platform = drivertest.Image, "" }),
	}
}

// oneByOne fetches the image again for each task.
func oneByOne(h *drivertest.Harness) {
	with(func(h *hooks) {
		var mu sync.Mutex
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			mu.Lock()
			defer mu.Unlock()
			if s.Container.Pull == driver.PullIfNotPresent {
				s.Container.Pull = driver.PullAlways
			}
			return d.Create(ctx, s)
		}
	})(h)
}

// wordless keeps what the registry said to itself.
func wordless(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			if errors.Is(err, errdefs.ErrNotFound) {
				err = driver.Wrap(ctx, "create", s.Name, driver.WithClass(errdefs.ErrNotFound, "no such image"))
			}
			return id, err
		}
	})(h)
}

func tellsPassword(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			if c := s.Container.Credentials; err != nil && c != nil {
				err = fmt.Errorf("%w (as %s with %s)", err, c.Username, c.Password)
			}
			return id, err
		}
	})(h)
}

// puller is a driver with a Pull of its own.
type puller struct{ *hooks }

func (p puller) Pull(ctx context.Context, spec driver.PullSpec) error {
	spec.Progress = nil
	return driver.Pull(ctx, p.Driver, spec)
}

func silentPull(h *drivertest.Harness) {
	open := h.Open
	h.Open = func(ctx context.Context, owner string) (driver.Driver, error) {
		d, err := open(ctx, owner)
		return puller{&hooks{Driver: d}}, err
	}
}
