// Package whole writes small files that are there whole, or as they were before, whatever happens meanwhile.
package whole

import (
	"errors"
	"io/fs"
	"os"
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
	return os.Rename(f.Name(), path)
}
