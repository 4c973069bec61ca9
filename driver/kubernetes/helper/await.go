//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// await returns when the file is there. The directory must be.
func await(file string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(file), unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		return fmt.Errorf("watch for %s: %w", file, err)
	}
	buf := make([]byte, 4096)
	for {
		if _, err := os.Lstat(file); err == nil || !os.IsNotExist(err) {
			return err
		}
		if _, err := unix.Read(fd, buf); err != nil && err != unix.EINTR {
			return fmt.Errorf("watch for %s: %w", file, err)
		}
	}
}
