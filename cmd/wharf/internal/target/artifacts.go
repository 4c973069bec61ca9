package target

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// Artifacts returns what has been kept.
func (t *Target) Artifacts(ctx context.Context) ([]client.Artifact, error) {
	if t.client != nil {
		all, err := t.client.Artifacts(ctx)
		return all, explain(err)
	}
	s, err := journal.Summarize(t.Dir)
	if err != nil {
		return nil, err
	}
	var all []client.Artifact
	for _, e := range s.Artifacts {
		all = append(all, client.Artifact{Step: e.Step, Name: e.Name, Size: e.Size, SHA256: e.SHA256})
	}
	return all, nil
}

// ReadArtifact writes an artifact to w, from an offset on.
func (t *Target) ReadArtifact(ctx context.Context, a client.Artifact, offset int64, w io.Writer) error {
	if t.client != nil {
		_, err := t.client.ReadArtifact(ctx, a.Step, a.Name, offset, w)
		return explain(err)
	}
	f, err := t.artifact(a)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, Stoppable(ctx, f))
	return err
}

// Executable reports whether an artifact may be executed, which only its file tells.
func (t *Target) Executable(a client.Artifact) bool {
	if t.Dir == "" {
		return false
	}
	f, err := t.artifact(a)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.Mode()&0o100 != 0
}

// artifact opens the file of an artifact. The directory may be someone else's, and so what lies there: links out of it, and what is no
// file, are refused.
func (t *Target) artifact(a client.Artifact) (*os.File, error) {
	path := filepath.FromSlash(a.Name)
	if !filepath.IsLocal(a.Step) {
		return nil, fmt.Errorf("step %q: %w", a.Step, fs.ErrInvalid)
	}
	root, err := os.OpenRoot(filepath.Join(t.Dir, journal.Artifacts, a.Step))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Lstat(path) // before it is opened: that of a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: it is no regular file", path, fs.ErrInvalid)
	}
	return root.Open(path)
}

// Stoppable is a reader whose reads fail when a context has ended.
func Stoppable(ctx context.Context, r io.Reader) io.Reader { return &stoppable{ctx, r} }

type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
