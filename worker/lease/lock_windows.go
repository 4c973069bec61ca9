package lease

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// errHeld says that another open file holds the lock.
var errHeld = errors.New("is held by another process")

// lock takes the exclusive lock of f's file, without waiting. It ends when f is closed.
func lock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errHeld
	}
	return err
}
