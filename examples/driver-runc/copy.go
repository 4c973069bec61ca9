package runc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// place returns the files that a path begins in, and the rest of the path: a volume where the path leads into one, else the
// container's root, each with the volumes that are mounted below. (The mounts themselves are there while the container runs, and are
// seen by its processes only.)
func (d *Driver) place(p driver.Place, name string) (t *tree, rest string, err error) {
	if err := p.Validate(name); err != nil {
		return nil, "", err
	}
	name = path.Clean(name)
	if p.Volume != "" {
		dir, err := d.volume(p.Volume)
		if err != nil {
			return nil, "", err
		}
		t, err = openTree(dir)
		return t, "." + name, err
	}
	task, err := d.task(p.Task)
	if err != nil {
		return nil, "", err
	}
	mounts := slices.Clone(task.Spec.Container.Mounts)
	slices.SortFunc(mounts, func(a, b driver.Mount) int { return cmp.Compare(len(a.Path), len(b.Path)) })
	dir, base := filepath.Join(task.dir, "rootfs"), "/"
	for _, m := range mounts { // the last that holds the path is the innermost
		if within(name, m.Path) {
			base = path.Clean(m.Path)
			if dir, err = d.volume(m.Volume); err != nil {
				return nil, "", err
			}
		}
	}
	if t, err = openTree(dir); err != nil {
		return nil, "", err
	}
	for _, m := range mounts {
		if at := path.Clean(m.Path); at != base && within(at, base) {
			dir, err := d.volume(m.Volume)
			if err == nil {
				err = t.mount(strings.TrimPrefix(at[len(strings.TrimSuffix(base, "/")):], "/"), dir)
			}
			if err != nil {
				t.Close()
				return nil, "", err
			}
		}
	}
	return t, "./" + strings.TrimPrefix(name[len(strings.TrimSuffix(base, "/")):], "/"), nil
}

// within reports whether a path is a directory or below it.
func within(name, dir string) bool {
	return name == path.Clean(dir) || strings.HasPrefix(name, strings.TrimSuffix(path.Clean(dir), "/")+"/")
}

// CopyIn unpacks a checked stream. [os.Root] sees to it that no link leads out of the container's files. See [driver.Driver].
func (d *Driver) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "copy in", subject(opts.Place), classify(d.copyIn(ctx, opts)))
}

func (d *Driver) copyIn(ctx context.Context, opts driver.CopyInOptions) error {
	files, dir, err := d.place(opts.Place, opts.Path)
	if err != nil {
		return err
	}
	defer files.Close()
	info, err := files.root.Stat(dir)
	if errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir() {
		return driver.WithClass(errdefs.ErrFailedPrecondition, "%s: is not a directory", opts.Path)
	}
	if err != nil {
		return pathError(opts.Path, err)
	}
	at, err := files.below(dir)
	if err != nil {
		return err
	}
	defer at.root.Close()
	safe := driver.SafeTar(opts.Tar, opts.OutsideLinks)
	defer safe.Close()
	defer context.AfterFunc(ctx, func() { safe.Close() })() // ends a read that waits for the caller
	if err := unpack(at, safe); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, safe)
	return err
}

// CopyOut packs a file or a directory. See [driver.Driver].
func (d *Driver) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	files, name, err := d.place(opts.Place, opts.Path)
	if err == nil {
		if err = context.Cause(ctx); err == nil {
			_, err = files.root.Lstat(name)
		}
		if err != nil {
			files.Close()
		}
	}
	if err != nil {
		return nil, driver.Wrap(ctx, "copy out", subject(opts.Place), classify(pathError(opts.Path, err)))
	}
	ctx, done := d.begin(ctx)
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(driver.Wrap(ctx, "copy out", subject(opts.Place), context.Cause(ctx))) })
	go func() {
		defer done()
		defer stop()
		defer files.Close()
		err := pack(w, files, name, path.Base(path.Clean(opts.Path)))
		w.CloseWithError(driver.Wrap(ctx, "copy out", subject(opts.Place), classify(err)))
	}()
	return r, nil
}

func subject(p driver.Place) string { return firstOf(string(p.Task), string(p.Volume), "nothing") }

// pathError says which path an error is about, in the caller's words.
func pathError(name string, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return driver.WithClass(errdefs.ErrNotFound, "%s: there is no such file or directory", name)
	}
	if classified(err) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}
