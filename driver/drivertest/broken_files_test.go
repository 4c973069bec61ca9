package drivertest_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

func brokenFiles() map[string]breakage {
	return map[string]breakage{
		"in-before-start":  inwards(func(h *tar.Header) bool { h.Mode &= 0o777; return true }),
		"in-while-running": inwards(func(h *tar.Header) bool { h.Uid, h.Gid = 0, 0; return true }),
		"in-after-exit":    inwards(func(h *tar.Header) bool { h.ModTime = time.Now(); return true }),
		"out-while-running": outwards(func(h *tar.Header) bool {
			if h.Typeflag == tar.TypeLink {
				h.Typeflag, h.Linkname = tar.TypeReg, ""
			}
			return true
		}),
		"out-after-exit":  outwards(func(h *tar.Header) bool { h.Uid = 0; return true }),
		"out-file":        outwards(func(h *tar.Header) bool { h.Name = "made/" + h.Name; return true }),
		"out-symlink":     copyOutOptions(func(o *driver.CopyOutOptions) { o.Path = strings.Replace(o.Path, "made/link", "made/file", 1) }),
		"merge":           inwards(func(h *tar.Header) bool { return h.Name != "d/new" }),
		"outside-links":   copyInOptions(func(o *driver.CopyInOptions) { o.OutsideLinks = false }),
		"large-in":        copyInOptions(func(o *driver.CopyInOptions) { o.Tar = &flip{Reader: o.Tar, at: 200 << 20} }),
		"large-out":       flippedOut,
		"many-in":         inwards(func(h *tar.Header) bool { return !strings.HasSuffix(h.Name, "/7777") }),
		"many-out":        outwards(func(h *tar.Header) bool { return !strings.HasSuffix(h.Name, "/7777") }),
		"sparse":          copyInOptions(func(o *driver.CopyInOptions) { o.Tar = &flip{Reader: o.Tar, at: 515} }),
		"missing":         copyInError(errdefs.ErrNotFound, nil),
		"hostile":         copyInError(errdefs.ErrInvalidArgument, nil),
		"unknown-place":   copyInError(errdefs.ErrNotFound, errdefs.ErrInvalidArgument),
		"not-a-directory": copyInError(errdefs.ErrFailedPrecondition, errdefs.ErrNotFound),
		"volume":          copyOutOptions(func(o *driver.CopyOutOptions) { o.Path = path.Dir(o.Path) }),
		"volume-in-use": with(func(h *hooks) {
			h.copyIn = func(ctx context.Context, d driver.Driver, opts driver.CopyInOptions) error {
				if opts.Place.Volume != "" {
					return errors.New("the volume is in use")
				}
				return d.CopyIn(ctx, opts)
			}
		}),
		"above-a-mount-created": inwards(func(h *tar.Header) bool { return !strings.HasPrefix(h.Name, "a/v/") }), // it got below the mount
		"above-a-mount-running": outwards(func(h *tar.Header) bool { return h.Name == "a/v/" || !strings.HasPrefix(h.Name, "a/v/") }),
		"above-a-mount-ended":   inwards(func(h *tar.Header) bool { h.Mode |= 0o005; return true }),
		"cancelled": with(func(h *hooks) {
			h.copyIn = func(ctx context.Context, d driver.Driver, opts driver.CopyInOptions) error {
				if err := d.CopyIn(ctx, opts); err != nil {
					return errors.New("it did not work")
				}
				return nil
			}
		}),
		"broken-stream": copyInError(errdefs.ErrInvalidArgument, nil),
		"failing-stream": with(func(h *hooks) {
			h.copyIn = func(ctx context.Context, d driver.Driver, opts driver.CopyInOptions) error {
				d.CopyIn(ctx, opts)
				return nil
			}
		}),
	}
}

func copyInOptions(change func(*driver.CopyInOptions)) breakage {
	return with(func(h *hooks) {
		h.copyIn = func(ctx context.Context, d driver.Driver, opts driver.CopyInOptions) error {
			change(&opts)
			return d.CopyIn(ctx, opts)
		}
	})
}

func copyOutOptions(change func(*driver.CopyOutOptions)) breakage {
	return with(func(h *hooks) {
		h.copyOut = func(ctx context.Context, d driver.Driver, opts driver.CopyOutOptions) (io.ReadCloser, error) {
			change(&opts)
			return d.CopyOut(ctx, opts)
		}
	})
}

// copyInError returns another error in place of those of a class.
func copyInError(class, other error) breakage {
	return with(func(h *hooks) {
		h.copyIn = func(ctx context.Context, d driver.Driver, opts driver.CopyInOptions) error {
			err := d.CopyIn(ctx, opts)
			if errors.Is(err, class) {
				err = driver.Wrap(ctx, "copy in", opts.Path, other)
			}
			return err
		}
	})
}

func flippedOut(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.copyOut = func(ctx context.Context, d driver.Driver, opts driver.CopyOutOptions) (io.ReadCloser, error) {
			r, err := d.CopyOut(ctx, opts)
			if err != nil {
				return nil, err
			}
			return &flip{Reader: r, Closer: r, at: 200 << 20}, nil
		}
	})(h)
}

func brokenVolumes() map[string]breakage {
	apart := spec(func(s *driver.TaskSpec) { // each task gets a directory of its own
		for i := range s.Container.Mounts {
			s.Container.Mounts[i].SubPath = s.Name
		}
	})
	removable := removeVolumeError(errdefs.ErrFailedPrecondition, nil)
	return map[string]breakage{
		"in-turn":        apart,
		"at-once":        hurried(apart),
		"users":          mainContainer(func(c *driver.Container) { c.User = "0:0" }),
		"persists":       apart,
		"empty":          keepsVolumes,
		"isolated":       oneVolume,
		"two-mounts":     mainContainer(func(c *driver.Container) { c.Mounts = c.Mounts[:min(1, len(c.Mounts))] }),
		"in-use-created": removable,
		"in-use-running": removable,
		"in-use-ended":   removable,
		"remove-missing": removeVolumeOnce,
		"remove-at-once": removeVolumeOnce,
		"name-in-use":    keepsVolumes,
		"bad-spec": with(func(h *hooks) {
			h.createVolume = func(ctx context.Context, d driver.Driver, s driver.VolumeSpec) (driver.VolumeID, error) {
				id, err := d.CreateVolume(ctx, s)
				if errors.Is(err, errdefs.ErrInvalidArgument) {
					err = errors.New("no")
				}
				return id, err
			}
		}),
		"list":      listedVolumes(func(v []driver.Volume) { slices.Reverse(v) }),
		"owners":    oneOwner,
		"sub-path":  mainContainer(func(c *driver.Container) { c.Mounts[0].SubPath = "" }),
		"read-only": mainContainer(func(c *driver.Container) { c.Mounts[0].ReadOnly = false }),
		"usage": listedVolumes(func(v []driver.Volume) {
			for i := range v {
				v[i].Used = -1
			}
		}),
	}
}

func listedVolumes(change func([]driver.Volume)) breakage {
	return with(func(h *hooks) {
		h.listVolumes = func(ctx context.Context, d driver.Driver, opts driver.ListOptions) ([]driver.Volume, error) {
			volumes, err := d.ListVolumes(ctx, opts)
			change(volumes)
			return volumes, err
		}
	})
}

// keepsVolumes takes a volume that is there for a new one, and does not delete any before its driver value is closed.
func keepsVolumes(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.createVolume = func(ctx context.Context, d driver.Driver, s driver.VolumeSpec) (driver.VolumeID, error) {
			volumes, err := d.ListVolumes(ctx, driver.ListOptions{})
			if err != nil {
				return "", err
			}
			for _, v := range volumes {
				if v.Name == s.Name {
					return v.ID, nil
				}
			}
			return d.CreateVolume(ctx, s)
		}
		h.removeVolume = func(context.Context, driver.Driver, driver.VolumeID) error { return nil }
	})(h)
}

// oneVolume gives every name the same volume.
func oneVolume(h *drivertest.Harness) {
	with(func(h *hooks) {
		var mu sync.Mutex
		var only driver.VolumeID
		h.createVolume = func(ctx context.Context, d driver.Driver, s driver.VolumeSpec) (id driver.VolumeID, err error) {
			mu.Lock()
			defer mu.Unlock()
			if only == "" {
				only, err = d.CreateVolume(ctx, s)
			}
			return only, err
		}
	})(h)
}

func removeVolumeError(class, other error) breakage {
	return with(func(h *hooks) {
		h.removeVolume = func(ctx context.Context, d driver.Driver, id driver.VolumeID) error {
			err := d.RemoveVolume(ctx, id)
			if errors.Is(err, class) {
				return other
			}
			return err
		}
	})
}

func removeVolumeOnce(h *drivertest.Harness) {
	with(func(h *hooks) {
		var calls counter
		h.removeVolume = func(ctx context.Context, d driver.Driver, id driver.VolumeID) error {
			if calls.next() > 1 {
				return driver.WithClass(errdefs.ErrNotFound, "no such volume")
			}
			return d.RemoveVolume(ctx, id)
		}
	})(h)
}
