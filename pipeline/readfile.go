package pipeline

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ReadFile reads a file right in a directory that others may have filled, such as the definition of a foreign branch. A
// symbolic link is followed while it stays in the directory. Nothing but a regular file is opened, so that neither a device
// nor a FIFO is read or waited for. Of a file larger than [MaxSize] it reads a byte more than that, which is then refused
// where the content is parsed. The error matches [io/fs.ErrNotExist] if there is no file.
func ReadFile(dir, name string) ([]byte, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(dir, path); err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("it is a symbolic link to %s, which is not in the directory", quote(path))
	}
	return readRegular(path)
}

// readRegular reads a regular file of at most MaxSize and a byte. Links are followed.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // to open a FIFO would wait for ever
		return nil, errors.New("it is no regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}
