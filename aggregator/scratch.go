package aggregator

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// scratchName begins the names of directories for copies.
const scratchName = "wharf-aggregator-"

// scratch is a directory for a copy, locked as long as who has made it lives.
type scratch struct{ *os.File }

// newScratch makes one in a directory; empty is the system's.
func newScratch(in string) (*scratch, error) {
	dir, err := os.MkdirTemp(in, scratchName)
	if err != nil {
		return nil, err
	}
	s, err := openScratch(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
	}
	return s, err
}

// openScratch locks one, which fails if another process has it.
func openScratch(dir string) (*scratch, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return &scratch{f}, nil
}

func (s *scratch) remove() {
	_ = os.RemoveAll(s.Name())
	_ = s.Close()
}

// sweepScratch removes what aggregators have left in a directory that were killed. Who has just made one may not have locked it yet.
func sweepScratch(in string) {
	if in == "" {
		in = os.TempDir()
	}
	all, _ := filepath.Glob(filepath.Join(in, scratchName+"*"))
	for _, dir := range all {
		info, err := os.Lstat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute || int(info.Sys().(*syscall.Stat_t).Uid) != os.Getuid() {
			continue
		}
		if s, err := openScratch(dir); err == nil {
			s.remove()
		}
	}
}
