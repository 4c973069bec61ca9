package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wharfci/wharf/cmd/wharf/internal/target"
	"github.com/wharfci/wharf/worker/client"
)

// unfinished is the directory, in that of a download, of files that have not come whole. No step has such an ID.
const unfinished = ".wharf-download"

// fetch copies artifacts into a directory, each below one of its step.
func fetch(ctx context.Context, t *target.Target, dir string, all []client.Artifact) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, a := range all {
		d := download{t, root, a}
		if err := d.fetch(ctx); err != nil {
			return fmt.Errorf("artifact %s of %s: %w", a.Name, a.Step, err)
		}
	}
	_ = root.Remove(unfinished) // unless something is in it
	return nil
}

// download copies one artifact.
type download struct {
	from *target.Target
	root *os.Root
	file client.Artifact
}

// part is where the file grows. The name is that of this content alone, and no artifact's.
func (d *download) part() string {
	sum := sha256.Sum256([]byte(d.file.Step + "\x00" + d.file.Name + "\x00" + d.file.SHA256))
	return filepath.Join(unfinished, hex.EncodeToString(sum[:]))
}

// fetch begins where an earlier copy ends. What has come stays if it breaks off.
func (d *download) fetch(ctx context.Context) error {
	path := filepath.Join(d.file.Step, filepath.FromSlash(d.file.Name))
	if err := errors.Join(d.root.MkdirAll(filepath.Dir(path), 0o755), d.root.MkdirAll(unfinished, 0o755)); err != nil {
		return err
	}
	if sum, err := sumOf(ctx, d.root, path); err == nil && sum == d.file.SHA256 {
		return nil
	}
	for {
		begun, err := d.goOn(ctx)
		if err != nil {
			return err
		}
		sum, err := sumOf(ctx, d.root, d.part())
		if err != nil {
			return err
		}
		if sum == d.file.SHA256 {
			return d.root.Rename(d.part(), path)
		}
		if err := d.root.Remove(d.part()); err != nil {
			return err
		}
		if !begun { // else what was there was not its beginning: once more
			return errors.New("what came is not what was kept: its SHA-256 differs; try again")
		}
	}
}

// goOn adds what is missing, and reports whether something was there.
func (d *download) goOn(ctx context.Context) (begun bool, err error) {
	f, err := d.root.OpenFile(d.part(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return false, err
	}
	have, err := d.end(f)
	if err == nil {
		err = d.from.ReadArtifact(ctx, d.file, have, f)
	}
	if err == nil && d.from.Executable(d.file) {
		err = allowExecution(f)
	}
	return have > 0, errors.Join(err, f.Close())
}

// end goes to the end of what there is of the file; to its beginning if that is too much.
func (d *download) end(f *os.File) (int64, error) {
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil || have <= d.file.Size {
		return have, err
	}
	if err := f.Truncate(0); err != nil {
		return 0, err
	}
	return f.Seek(0, io.SeekStart)
}

// allowExecution lets those execute a file who can read it.
func allowExecution(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return f.Chmod(info.Mode() | info.Mode()&0o444>>2)
}

// sumOf is the SHA-256 of a file.
func sumOf(ctx context.Context, root *os.Root, path string) (string, error) {
	if info, err := root.Stat(path); err != nil || !info.Mode().IsRegular() { // before it is opened: that of a pipe would wait
		return "", errors.Join(err, fs.ErrInvalid)
	}
	f, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, target.Stoppable(ctx, f)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
