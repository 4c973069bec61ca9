package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/repo"
)

// workspace is the volume that every step sees as [Workspace].
//
// Its files belong to root, as most images run as root and Git refuses to work in another user's directory. If all
// steps name one user by number, they belong to that user. If only some do, or a user is named by name, they belong to root and
// everybody may write in the directories.
type workspace struct {
	e      *engine
	made   func() (driver.VolumeID, error)
	begin  sync.Once
	filled chan struct{}
	err    error // set when filled is closed
}

func newWorkspace(e *engine) *workspace {
	w := &workspace{e: e, filled: make(chan struct{})}
	w.made = sync.OnceValues(func() (driver.VolumeID, error) {
		if e.past.filled { // an empty one must not take its place
			return e.oldVolume("workspace")
		}
		return e.ownVolume("workspace")
	})
	if e.past.filled {
		w.begin.Do(func() { close(w.filled) })
	}
	return w
}

// volume returns the volume, which the first call makes.
func (w *workspace) volume() (driver.VolumeID, error) { return w.made() }

// fill puts the repository into the volume, once, through a task with these mounts that was created and has not been
// started: that needs no container of its own.
func (w *workspace) fill(task driver.TaskID, mounts []driver.Mount) {
	w.begin.Do(func() {
		defer close(w.filled)
		if w.err = w.copy(task, mounts); w.err != nil {
			w.e.halt(Errored, "the workspace could not be filled: %v", w.err)
		}
	})
}

// wait waits until the workspace is filled.
func (w *workspace) wait() error {
	select {
	case <-w.filled:
		return w.err
	case <-w.e.stop.Done():
		return context.Cause(w.e.stop)
	}
}

func (w *workspace) copy(task driver.TaskID, mounts []driver.Mount) error {
	e := w.e
	opts := owner(e.cfg.Plan)
	opts.Ignored = e.cfg.CopyIgnored
	opts.Warn = func(text string) { e.warn("", "%s", text) }
	if e.cfg.Repository == "" && opts.UID == 0 && opts.GID == 0 && opts.DirMode == 0 {
		return nil // root writes into a new volume as it is
	}
	if e.cfg.Repository == "" {
		return e.copyEmpty(e.stop, task, Workspace, opts)
	}
	into := driver.CopyInOptions{Place: driver.Place{Task: task}, Path: path.Dir(Workspace), OutsideLinks: true}
	below := slices.ContainsFunc(mounts, func(m driver.Mount) bool { return strings.HasPrefix(m.Path, Workspace+"/") })
	if below { // what lies there in the repository would get into a cache, and no other step would see it
		if err := e.copyEmpty(e.stop, task, Workspace, opts); err != nil {
			return err
		}
		into.Place, into.Path = driver.Place{Volume: mounts[0].Volume}, "/"
	} else {
		opts.Name = path.Base(Workspace)
	}
	return e.copyTar(e.stop, into, func(out io.Writer) error {
		return repo.Tar(e.stop, out, e.cfg.Repository, opts)
	})
}

// copyTar copies in what write writes. Its error comes first: the runtime's is only an echo of it.
func (e *engine) copyTar(ctx context.Context, opts driver.CopyInOptions, write func(io.Writer) error) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		written <- err
	}()
	opts.Tar = r
	err := e.d.CopyIn(ctx, opts)
	_ = r.CloseWithError(io.ErrClosedPipe)
	if werr := <-written; werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		return werr
	}
	return err
}

// copyEmpty gives the directory at a mount its owner and mode.
func (e *engine) copyEmpty(ctx context.Context, task driver.TaskID, dir string, opts repo.Options) error {
	var stream bytes.Buffer
	opts.Name = path.Base(dir)
	if err := repo.Empty(&stream, opts); err != nil {
		return err
	}
	return e.d.CopyIn(ctx, driver.CopyInOptions{Place: driver.Place{Task: task}, Path: path.Dir(dir), Tar: &stream})
}

// owner says to whom the files of the workspace belong.
func owner(plan *pipeline.Plan) repo.Options {
	var opts repo.Options
	users := map[string]bool{}
	for _, s := range mayRun(plan) {
		if s.Container != nil {
			users[s.Container.User] = true
		}
	}
	for user := range users {
		uid, gid, numeric := numericUser(user)
		if numeric && len(users) == 1 {
			opts.UID, opts.GID = uid, gid
		} else if !isRoot(user) {
			opts.DirMode = 0o777
		}
	}
	return opts
}

// isRoot reports whether a step runs as root, as far as the plan says: the user of an image is not known.
func isRoot(user string) bool {
	uid, _, numeric := numericUser(user)
	return user == "" || user == "root" || numeric && uid == 0
}

// fillCertificates makes the volume with the installation's CA certificates. Without any it returns nothing.
func (e *engine) fillCertificates() (driver.VolumeID, error) {
	if e.cfg.Certificates == "" {
		return "", nil
	}
	id, err := e.ownVolume("certificates")
	if err != nil {
		return "", err
	}
	into := driver.CopyInOptions{Place: driver.Place{Volume: id}, Path: "/", OutsideLinks: true}
	return id, e.copyTar(e.stop, into, func(out io.Writer) error {
		return repo.Tar(e.stop, out, e.cfg.Certificates, repo.Options{Ignored: true})
	})
}
