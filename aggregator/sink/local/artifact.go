package local

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
)

// PutArtifact stores a file. It is written and on the disk before the database names it; what a crash leaves of one that it does not name is removed later. A source that does not have its SHA256, if that is one, is
// an error.
func (r *report) PutArtifact(ctx context.Context, a sink.Artifact) error {
	if a.Name == "" || a.Name == "." || a.Name == ".." || strings.ContainsAny(a.Name, "/\x00") || !utf8.ValidString(a.Name) {
		return r.of(errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the artifact %q: that is no file name", a.Name)))
	}
	if err := open(r.turn.Fence); err != nil {
		return r.of(err)
	}
	there, err := r.store.hasArtifact(ctx, r.build, a.Name)
	if err != nil || there {
		return err
	}
	path, err := r.fetch(ctx, &a)
	if err != nil {
		return fmt.Errorf("local sink: build %d: artifact %s: %w", r.build, a.Name, err)
	}
	named := false
	err = r.store.write(ctx, true, r.turn.Fence, func(ctx context.Context, tx *sql.Tx) error {
		if err := ensure(ctx, tx, r.build); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "INSERT INTO artifact (build, name, size, sha256, tests, file) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			int64(r.build), a.Name, a.Size, a.SHA256, a.TestResults, filepath.Base(path))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		named = n > 0
		return err
	})
	switch {
	case err != nil:
		r.store.dropUnnamed(ctx, r.build, path)
	case !named: // somebody else was faster
		_ = os.Remove(path)
	default:
		r.store.watch.changed(r.build)
	}
	return err
}

// dropUnnamed removes a file whose transaction has failed, unless that has come to its end all the same. If the database does not tell, Expire removes it later.
func (s *Store) dropUnnamed(ctx context.Context, build uint64, path string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	all, err := s.artifacts(ctx, build, 0)
	if err == nil && !slices.ContainsFunc(all, func(a artifact) bool { return a.file == filepath.Base(path) }) {
		_ = os.Remove(path)
	}
}

// directory is where the files of a build are.
func (s *Store) directory(build uint64) string {
	return filepath.Join(s.dir, artifactsDir, strconv.FormatUint(build, 10))
}

// fetch writes a source into a file of its own, whose path it returns, and sets the artifact's SHA256.
func (r *report) fetch(ctx context.Context, a *sink.Artifact) (path string, err error) {
	source, err := a.Open(ctx)
	if err != nil {
		return "", err
	}
	defer source.Close()
	dir := r.store.directory(r.build)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, "a*")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, sum), &heeding{ctx, io.LimitReader(source, a.Size+1)})
	switch got := hex.EncodeToString(sum.Sum(nil)); {
	case err != nil:
		return "", err
	case n != a.Size:
		return "", fmt.Errorf("it does not have the size of %d bytes that its journal tells", a.Size)
	case len(a.SHA256) == len(got) && !strings.EqualFold(a.SHA256, got):
		return "", errors.New("it does not have the SHA-256 that its journal tells")
	default:
		a.SHA256 = got
	}
	if err := file.Sync(); err != nil {
		return "", err
	}
	return file.Name(), errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// heeding is a reader that ends with a context.
type heeding struct {
	ctx context.Context
	io.Reader
}

func (h *heeding) Read(p []byte) (int, error) {
	if h.ctx.Err() != nil {
		return 0, context.Cause(h.ctx)
	}
	return h.Reader.Read(p)
}

// syncDir has the names in a directory on the disk.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
