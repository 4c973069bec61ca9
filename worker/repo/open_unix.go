//go:build unix

package repo

import (
	"os"
	"syscall"
)

// openFile opens a file to read it. What became a link or a FIFO since it was looked at is not followed, and does not block.
func openFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
