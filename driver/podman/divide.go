package podman

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// fill writes a checked tar stream into a directory of a container, and what belongs into the mounts below that directory into
// these. Podman looks for a mount only on the path that it is given: of a container that does not run, what lies deeper would
// land in the container's own layer, below the mount, where no process ever sees it.
func (d *Driver) fill(ctx context.Context, id, dir string, r io.Reader) error {
	c, err := d.look(ctx, id)
	if err != nil {
		return err
	}
	mounts := mountsBelow(c, dir)
	if len(mounts) == 0 {
		return d.unpack(ctx, id, dir, r)
	}
	s := &division{d: d, ctx: ctx, id: id, dir: dir, mounts: mounts, parts: map[string]*part{}}
	err = s.divide(r)
	return s.end(err)
}

// mountsBelow returns where the container has mounts below a directory, relative to it, inner ones first.
func mountsBelow(c *inspected, dir string) []string {
	prefix := strings.TrimSuffix(path.Clean(dir), "/") + "/"
	var at []string
	for _, m := range c.Mounts {
		if rest, ok := strings.CutPrefix(path.Clean(m.Destination), prefix); ok && rest != "" {
			at = append(at, rest)
		}
	}
	slices.SortFunc(at, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return at
}

// division is a tar stream on its way to several places, each by a call of its own.
type division struct {
	d       *Driver
	ctx     context.Context
	id, dir string
	mounts  []string
	parts   map[string]*part // by mount; "" is the directory itself
	calls   sync.WaitGroup
}

type part struct {
	pw  *io.PipeWriter
	out *tar.Writer
	err error // of the call, once it has ended
}

// find returns the mount that a name lies in, and the name there.
func (s *division) find(name string) (mount, rest string) {
	name = path.Clean(name)
	for _, m := range s.mounts {
		if name == m {
			return m, "."
		}
		if rest, ok := strings.CutPrefix(name, m+"/"); ok {
			return m, rest
		}
	}
	return "", name
}

// part returns the stream to a mount, and begins it when it is needed first.
func (s *division) part(mount string) *part {
	if p := s.parts[mount]; p != nil {
		return p
	}
	pr, pw := io.Pipe()
	p := &part{pw: pw, out: tar.NewWriter(pw)}
	s.parts[mount] = p
	s.calls.Go(func() {
		p.err = s.d.unpack(s.ctx, s.id, path.Join(s.dir, mount), pr)
		_ = pr.CloseWithError(errors.Join(p.err, io.ErrClosedPipe)) // nobody reads any more
	})
	return p
}

func (s *division) divide(r io.Reader) error {
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			// What follows the end of the archive belongs to the stream, too: who writes it waits until all is read.
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if err := s.entry(h, in); err != nil {
			return err
		}
	}
}

func (s *division) entry(h *tar.Header, content io.Reader) error {
	mount, name := s.find(h.Name)
	if h.Typeflag == tar.TypeLink {
		other, target := s.find(h.Linkname)
		if other != mount {
			return driver.WithClass(errdefs.ErrFailedPrecondition, "tar entry %q: a hard link cannot lead to %q, on another mount", h.Name, h.Linkname)
		}
		h.Linkname = target
	}
	if outer := s.parts[""]; outer != nil && name == "." && mount != "" && h.Typeflag == tar.TypeDir {
		// The mount point below gets the same entry: if it were made later, that would change the time of the directory around it, which may be of the stream.
		if err := outer.out.WriteHeader(h); err != nil {
			return err
		}
	}
	h.Name = name
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	out := s.part(mount).out
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}

// end finishes the streams, or breaks them off if there was an error, and returns what went wrong first: what the service
// says goes before what that did to the writing.
func (s *division) end(err error) error {
	for _, p := range s.parts {
		if err == nil {
			err = p.out.Close()
		}
		_ = p.pw.CloseWithError(err) // nil is the end of the stream
	}
	s.calls.Wait()
	for _, p := range s.parts {
		if answered(p.err) || err == nil {
			err = cmp.Or(p.err, err)
		}
	}
	return err
}
