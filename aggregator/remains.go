package aggregator

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// remains is the journal that a worker has left which does not run any more: a copy of what is in its volume. The zero value is a worker that has left nothing.
type remains struct {
	scratch *scratch // nil if there is nothing
	dir     string
	damage  error // why it cannot be read further
}

// recover copies what a worker has left, and calls begun when the runtime has begun with it. A worker without a journal has left nothing, which is no error.
func (a *Aggregator) recover(ctx context.Context, m *member, begun func()) (_ *remains, err error) {
	volume := provisioner.VolumeOf(m.task)
	if volume == "" {
		return &remains{}, nil
	}
	select { // a few at once: the copies are on this machine's disk
	case a.copying <- struct{}{}:
		defer func() { <-a.copying }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(copyBound, func() { cancel(fmt.Errorf("the runtime has not gone on with it for %s", copyBound)) })
	defer late.Stop()
	stream, err := a.cfg.Driver.CopyOut(ctx, driver.CopyOutOptions{Place: driver.Place{Volume: volume}, Path: "/" + provisioner.Results})
	if errdefs.IsNotFound(err) {
		return &remains{}, nil
	}
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	defer stream.Close()
	begun()
	place, err := newScratch(a.cfg.Scratch)
	if err != nil {
		return nil, err
	}
	r := &remains{scratch: place, dir: place.Name()}
	if err := unpack(&punctual{stream, late}, r.dir); err != nil {
		r.remove()
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	return r, nil
}

// punctual puts a timer off with every read.
type punctual struct {
	io.Reader
	timer *time.Timer
}

func (p *punctual) Read(b []byte) (int, error) {
	p.timer.Reset(copyBound)
	return p.Reader.Read(b)
}

// unpack unpacks directories and files, and nothing else, below the first directory of the stream.
func unpack(stream io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for in := tar.NewReader(stream); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, _ := strings.Cut(path.Clean(h.Name), "/")
		if name == "" || strings.HasPrefix(name, ".") {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o700)
		case tar.TypeReg:
			err = unpackFile(root, name, in)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackFile(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// remove removes the copy.
func (r *remains) remove() {
	if r.scratch != nil {
		r.scratch.remove()
	}
}

// Batches iterates over what can be read of the journal.
func (r *remains) Batches(ctx context.Context, opts client.ReadOptions) iter.Seq2[*journal.Batch, error] {
	return func(yield func(*journal.Batch, error) bool) {
		if r.dir == "" {
			return
		}
		in, err := journal.OpenAfter(r.dir, opts.After)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			r.damage = err
			return
		}
		defer func() { _ = in.Close() }()
		if opts.WithoutText {
			in.WithoutText()
		}
		for ctx.Err() == nil {
			b, err := in.NextBatch()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				r.damage = err
				return
			}
			if !yield(b, nil) {
				return
			}
		}
		yield(nil, context.Cause(ctx))
	}
}

// ReadArtifact writes an artifact to w.
func (r *remains) ReadArtifact(_ context.Context, step, name string, _ int64, w io.Writer) (int64, error) {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	f, err := root.Open(filepath.Join("artifacts", filepath.FromSlash(step), filepath.FromSlash(name)))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(w, f)
}
