package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// volumeRoot is where a helper container has its volume.
const volumeRoot = "/volume"

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
	id, dir, release, err := d.place(ctx, opts.Place, opts.Path)
	if err != nil {
		return err
	}
	defer release()
	safe := driver.SafeTar(opts.Tar, opts.OutsideLinks)
	defer safe.Close()
	// The client may hide behind its own words why the stream broke off.
	stream := &remembering{r: safe}
	defer context.AfterFunc(ctx, func() { _ = safe.Close() })() // a read that waits for the caller's stream would hold the client up
	_, err = d.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: dir, Content: stream})
	if bad := stream.failed(); bad != nil {
		return bad
	}
	return err
}

// remembering keeps the error of a stream, for whoever asks when its reader has given up.
type remembering struct {
	r   io.ReadCloser
	mu  sync.Mutex
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
	}
	return n, err
}

// Close ends a read that is under way; the client calls it when it gives up.
func (r *remembering) Close() error { return r.r.Close() }

func (r *remembering) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// place returns the container and the path to work on. For a volume that is a helper that was
// made and is never started; release takes it away.
func (d *Driver) place(ctx context.Context, p driver.Place, dir string) (id, at string, release func(), err error) {
	if p.Task != "" {
		h, err := d.parse(string(p.Task))
		return h.container, path.Clean(dir), func() {}, err
	}
	name, err := d.volume(ctx, p.Volume)
	if err != nil {
		return "", "", nil, err
	}
	id, release, err = d.helper(ctx, name)
	return id, path.Join(volumeRoot, dir), release, err
}

// helper makes a container that has the volume and never runs.
func (d *Driver) helper(ctx context.Context, volume string) (id string, release func(), err error) {
	m := &maker{Driver: d, spec: &driver.TaskSpec{}, uid: newUID()}
	labels := d.labels(kindHelper, "", m.uid, nil)
	host := container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{{
		Type: mount.TypeVolume, Source: volume, Target: volumeRoot, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
	}}}
	id, err = m.create(ctx, nil, func() client.ContainerCreateOptions {
		return pauseOptions("wharf_"+d.owner+"__copy_"+m.uid, labels, "", host)
	})
	if err != nil {
		return "", nil, errors.Join(err, m.undo(ctx))
	}
	return id, func() { _ = m.undo(ctx) }, nil
}

// makeSubPath makes a directory in a volume: the daemon mounts only what is there.
func (d *Driver) makeSubPath(ctx context.Context, volume, sub string) error {
	id, release, err := d.helper(ctx, volume)
	if err != nil {
		return err
	}
	defer release()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for dir := path.Clean(sub); dir != "."; dir = path.Dir(dir) {
		_, err := d.api.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: path.Join(volumeRoot, dir)})
		if err == nil {
			break
		}
		if !errdefs.IsNotFound(err) {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err = d.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: volumeRoot, Content: &b})
	return err
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
	id, from, release, err := d.place(ctx, opts.Place, opts.Path)
	if err != nil {
		return nil, err
	}
	res, err := d.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: from})
	if err != nil {
		release()
		return nil, err
	}
	out := &outStream{ctx: ctx, body: res.Content, subject: subject(opts.Place, opts.Path), release: func() { release(); done() }}
	if path.Clean(opts.Path) == "/" {
		return renamedRoot(out, strings.TrimPrefix(from, "/")), nil
	}
	return out, nil
}

// outStream passes a tar stream through, and tells one that was cut off from one that ended: the
// daemon ends its answer in the same way when it fails in the middle.
type outStream struct {
	ctx     context.Context
	body    io.ReadCloser
	subject string
	tail    [1024]byte // the last bytes that came by
	seen    int64
	once    sync.Once
	release func()
}

func (s *outStream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.seen += int64(n)
	if n >= len(s.tail) {
		copy(s.tail[:], p[n-len(s.tail):n])
	} else if n > 0 {
		copy(s.tail[:], s.tail[n:])
		copy(s.tail[len(s.tail)-n:], p[:n])
	}
	if errors.Is(err, io.EOF) && (s.seen < int64(len(s.tail)) || s.tail != [1024]byte{}) {
		err = driver.WithClass(errdefs.ErrUnavailable, "the daemon broke off in the middle of the stream")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = driver.Wrap(s.ctx, "copy out", s.subject, classify(err))
	}
	return n, err
}

func (s *outStream) Close() error {
	var err error
	s.once.Do(func() {
		err = s.body.Close()
		s.release()
	})
	return err
}

// renamedRoot gives the entries of a root directory the name "." in place of Docker's own, which is empty for a
// container and the mount's for a volume.
func renamedRoot(s *outStream, own string) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(renameEntries(pw, s, own)) }()
	return struct {
		io.Reader
		io.Closer
	}{pr, closers{pr, s}}
}

type closers [2]io.Closer

func (c closers) Close() error { return errors.Join(c[0].Close(), c[1].Close()) }

func renameEntries(w io.Writer, r io.Reader, own string) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	rename := func(name string) string {
		return "./" + strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(name, "/"), own), "/")
	}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			return out.Close()
		}
		if err != nil {
			return err
		}
		h.Name = rename(h.Name)
		if h.Typeflag == tar.TypeLink {
			h.Linkname = rename(h.Linkname)
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
}
