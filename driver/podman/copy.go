package podman

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"path"
	"sync"

	"github.com/containerd/errdefs"

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
	if err := d.directory(ctx, id, dir); err != nil {
		return err
	}
	safe := driver.SafeTar(opts.Tar, opts.OutsideLinks)
	defer safe.Close()
	// The client may hide behind its own words why the stream broke off.
	stream := &remembering{r: safe}
	defer context.AfterFunc(ctx, func() { _ = safe.Close() })() // a read that waits for the caller's stream would hold the client up
	err = d.fill(ctx, id, dir, stream)
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
		if err == nil {
			_, err = d.tidied(ctx, h.container)
		}
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
	pause := pauseSpec("wharf_"+d.owner+"__copy_"+m.uid, d.labels(kindHelper, "", m.uid, nil), containerSpec{Network: namespace{Mode: "none"}})
	pause.Volumes = []volumeMount{{volume, volumeRoot, []string{"rw", "nocopy"}}}
	if id, err = m.create(ctx, nil, &pause); err != nil {
		return "", nil, errors.Join(err, m.undo(ctx))
	}
	return id, func() { _ = m.undo(ctx) }, nil
}

// unpack writes a tar stream into a directory of a container, owners as they are in the stream.
func (d *Driver) unpack(ctx context.Context, id, dir string, r io.Reader) error {
	return d.api.call(ctx, "PUT", "/containers/"+id+"/archive", url.Values{"path": {dir}, "copyUIDGID": {"false"}, "pause": {"false"}}, r, nil)
}

// pack returns a file or directory of a container as a tar stream.
func (d *Driver) pack(ctx context.Context, id, path string) (io.ReadCloser, error) {
	return d.api.open(ctx, "GET", "/containers/"+id+"/archive", url.Values{"path": {path}}, nil)
}

// directory returns an error if a container has no such directory: Podman would make it.
func (d *Driver) directory(ctx context.Context, id, path string) error {
	if path == "/" {
		return nil
	}
	is, err := d.isDirectory(ctx, id, path)
	if err == nil && !is {
		return driver.WithClass(errdefs.ErrFailedPrecondition, "%s is not a directory", path)
	}
	return err
}

// isDirectory reports whether a path of a container is one, or a link to one.
func (d *Driver) isDirectory(ctx context.Context, id, path string) (bool, error) {
	req, err := d.api.request(ctx, "HEAD", "/containers/"+id+"/archive", url.Values{"path": {path}}, nil)
	if err != nil {
		return false, err
	}
	resp, err := d.api.send(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var info struct {
		Mode  fs.FileMode
		IsDir bool // of what a link leads to
	}
	text, err := base64.URLEncoding.DecodeString(resp.Header.Get("X-Docker-Container-Path-Stat"))
	if err == nil {
		err = json.Unmarshal(text, &info)
	}
	return info.IsDir || info.Mode.IsDir(), err
}
