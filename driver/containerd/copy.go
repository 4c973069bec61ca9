//go:build linux

package containerd

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/rootfs"
)

// CopyIn unpacks a tar stream. See [driver.Driver].
func (d *Driver) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "copy in", subject(opts.Place, opts.Path), classify(d.copyIn(ctx, opts)))
}

func subject(p driver.Place, path string) string {
	return string(p.Task) + string(p.Volume) + ":" + path
}

func (d *Driver) copyIn(ctx context.Context, opts driver.CopyInOptions) error {
	if err := opts.Place.Validate(opts.Path); err != nil {
		return err
	}
	safe := driver.SafeTar(opts.Tar, opts.OutsideLinks)
	defer safe.Close()
	defer context.AfterFunc(ctx, func() { _ = safe.Close() })()
	return d.within(ctx, opts.Place, func() error {
		dir := path.Clean(opts.Path)
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return driver.WithClass(errdefs.ErrFailedPrecondition, "%s is no directory", dir)
		}
		err = rootfs.Unpack(dir, safe)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if errors.Is(err, unix.EROFS) || errors.Is(err, rootfs.ErrDirectoryInTheWay) {
			return driver.WithClass(errdefs.ErrFailedPrecondition, "%v", err)
		}
		return err
	})
}

// within runs f on a thread whose root is that of the task or volume.
func (d *Driver) within(ctx context.Context, p driver.Place, f func() error) error {
	if p.Task != "" {
		h, err := d.parse(string(p.Task))
		if err != nil {
			return err
		}
		return d.inside(ctx, h, f)
	}
	dir, err := d.volume(p.Volume)
	if err != nil {
		return err
	}
	return insideDir(filepath.Join(dir, "data"), f)
}

// CopyOut returns a file or directory as a tar stream. See [driver.Driver].
func (d *Driver) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	ctx, done := d.begin(ctx)
	stream, err := d.copyOut(ctx, opts, done)
	if err != nil {
		err = driver.Wrap(ctx, "copy out", subject(opts.Place, opts.Path), classify(err))
		done()
		return nil, err
	}
	return stream, nil
}

func (d *Driver) copyOut(ctx context.Context, opts driver.CopyOutOptions, done func()) (io.ReadCloser, error) {
	if err := opts.Place.Validate(opts.Path); err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	found := make(chan error, 1)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		pw.CloseWithError(driver.Wrap(ctx, "copy out", subject(opts.Place, opts.Path), context.Cause(ctx)))
	})
	go func() {
		defer close(ended)
		err := d.within(ctx, opts.Place, func() error {
			clean := path.Clean(opts.Path)
			info, err := os.Lstat(clean)
			if err != nil {
				return err
			}
			found <- nil
			return rootfs.Pack(pw, clean, info)
		})
		select {
		case found <- err: // nobody was told yet
		default:
		}
		pw.CloseWithError(driver.Wrap(ctx, "copy out", subject(opts.Place, opts.Path), classify(err)))
	}()
	if err := <-found; err != nil {
		stop()
		<-ended
		return nil, err
	}
	return &outStream{pr, func() {
		stop()
		pr.Close()
		<-ended
		done()
	}}, nil
}

// outStream ends what feeds it when it is closed.
type outStream struct {
	*io.PipeReader
	release func()
}

func (s *outStream) Close() error {
	s.release()
	return nil
}
