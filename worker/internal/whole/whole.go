// Package whole writes small files that are there whole, or as they were before, whatever happens meanwhile.
package whole

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file in place of the one that path names, if there is one. It is on the disk when WriteFile returns. Two must not write one file at a time.
func WriteFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir brings the names in a directory to the disk. Not every system can.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}
