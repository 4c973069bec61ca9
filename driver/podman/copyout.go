package podman

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/wharfci/wharf/driver"
)

// targetRoot is where a helper has what it shall walk.
const targetRoot = "/target"

// CopyOut returns a file or directory as a tar stream. See [driver.Driver].
func (d *Driver) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	ctx, done := d.begin(ctx)
	s := &outStream{ctx: ctx, d: d, subject: subject(opts.Place, opts.Path), done: done}
	if err := s.open(opts); err != nil {
		err = driver.Wrap(ctx, "copy out", s.subject, classify(err))
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// outStream is what a helper beside the task, or beside none for a volume, tells of the files there: Podman's own
// archives (of 4.3 to 5.6 at least) give every file to the container's user, and leave out what is called dev, proc or sys.
type outStream struct {
	ctx     context.Context
	d       *Driver
	subject string
	done    func()
	mounted string // container whose root file system is held
	helper  *maker
	conn    stream
	pr      *io.PipeReader
	writing sync.WaitGroup
	once    sync.Once
}

// open starts the helper and reads the first record: what does not exist is told at once.
func (s *outStream) open(opts driver.CopyOutOptions) error {
	if err := opts.Place.Validate(opts.Path); err != nil {
		return err
	}
	spec, err := s.target(opts.Place)
	if err != nil {
		return err
	}
	at := path.Clean(opts.Path)
	spec.Command = []string{targetRoot, at}
	spec.CapAdd = []string{"SYS_CHROOT", "DAC_READ_SEARCH", "DAC_OVERRIDE"}
	spec.SELinux = []string{"disable"} // the files have the labels of others
	id, err := s.helper.create(s.ctx, nil, &spec)
	if err != nil {
		return err
	}
	if s.conn, err = s.d.api.hijack(s.ctx, "/containers/"+id+"/attach", attachQuery, nil); err != nil {
		return err
	}
	context.AfterFunc(s.ctx, func() { _ = s.conn.Conn.Close() })
	if err := s.d.startContainer(s.ctx, id); err != nil {
		return err
	}
	files := newWalked(&outputOf{r: s.conn.Reader}, at)
	if err := files.next(); err != nil {
		return err
	}
	pr, pw := io.Pipe()
	s.pr = pr
	s.writing.Go(func() { pw.CloseWithError(files.archive(pw)) })
	return nil
}

// target returns a helper's container that has the place's files below targetRoot.
func (s *outStream) target(p driver.Place) (containerSpec, error) {
	s.helper = &maker{Driver: s.d, spec: &driver.TaskSpec{}, uid: newUID()}
	name := "wharf_" + s.d.owner + "__copy_" + s.helper.uid
	spec := helperSpec(walkProgram, name, s.d.labels(kindHelper, "", s.helper.uid, nil), containerSpec{Network: namespace{Mode: "none"}})
	if p.Volume != "" {
		volume, err := s.d.volume(s.ctx, p.Volume)
		spec.Volumes = []volumeMount{{volume, targetRoot, []string{"rw", "nocopy"}}}
		return spec, err
	}
	h, err := s.d.parse(string(p.Task))
	if err != nil {
		return spec, err
	}
	c, err := s.d.tidied(s.ctx, h.container)
	if err != nil {
		return spec, err
	}
	root, err := s.d.mount(s.ctx, h.container)
	if err != nil {
		return spec, err
	}
	s.mounted = h.container
	// Podman makes the mount points of a container that has not run; so nothing here is read-only.
	spec.Mounts = []bindMount{{Destination: targetRoot, Source: root, Type: "bind", Options: []string{"rbind", "rw"}}}
	for _, m := range c.Mounts {
		switch at := path.Join(targetRoot, m.Destination); m.Type {
		case "volume":
			spec.Volumes = append(spec.Volumes, volumeMount{m.Name, at, []string{"rw", "nocopy"}})
		case "bind":
			spec.Mounts = append(spec.Mounts, bindMount{Destination: at, Source: m.Source, Type: "bind", Options: []string{"rbind", "rw"}})
		}
	}
	return spec, nil
}

// mount returns where the service has a container's root file system, which stays there until it is unmounted.
func (d *Driver) mount(ctx context.Context, id string) (string, error) {
	answer, err := d.api.open(ctx, "POST", "/containers/"+id+"/mount", nil, nil)
	if err != nil {
		return "", err
	}
	defer answer.Close()
	text, err := io.ReadAll(io.LimitReader(answer, 1<<16))
	return strings.Trim(string(text), "\"\n"), err // older versions do not quote it
}

func (s *outStream) Read(p []byte) (int, error) {
	n, err := s.pr.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(s.ctx); cause != nil {
			err = cause // and not that the connection was closed therefore
		}
		err = driver.Wrap(s.ctx, "copy out", s.subject, classify(err))
	}
	return n, err
}

// Close ends the stream and removes the helper.
func (s *outStream) Close() error {
	var err error
	s.once.Do(func() {
		if s.conn.Conn != nil {
			_ = s.conn.Conn.Close()
		}
		if s.pr != nil {
			_ = s.pr.Close()
		}
		s.writing.Wait()
		if s.helper != nil {
			err = s.helper.undo(s.ctx)
		}
		if s.mounted != "" {
			ctx, cancel := detached(s.ctx)
			defer cancel()
			_ = s.d.api.call(ctx, "POST", "/containers/"+s.mounted+"/unmount", nil, nil, nil) // or it goes with the container
		}
		err = driver.Wrap(s.ctx, "remove the helper of copy out", s.subject, classify(err))
		s.done()
	})
	return err
}
