//go:build linux

package outside

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// enter brings the calling thread into the mounts and the network of the process that has started this container.
func enter(proc string) error {
	starter, err := starterOf(proc)
	if err != nil {
		return err
	}
	var spaces []*os.File
	defer func() {
		for _, f := range spaces {
			f.Close()
		}
	}()
	kinds := map[string]int{"net": unix.CLONE_NEWNET, "mnt": unix.CLONE_NEWNS}
	for _, name := range []string{"net", "mnt"} { // with other mounts there is no way back to proc
		f, err := os.Open(filepath.Join(proc, starter, "ns", name))
		if err != nil {
			return unprivileged(err)
		}
		spaces = append(spaces, f)
	}
	if os.Getpid() == 1 && proc != "/proc" { // nobody else in this container needs it, which leads to all of the machine
		if err := unix.Unmount(proc, unix.MNT_DETACH); err != nil {
			return unprivileged(fmt.Errorf("unmount %s: %w", proc, err))
		}
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	for i, name := range []string{"net", "mnt"} {
		if err := unix.Setns(int(spaces[i].Fd()), kinds[name]); err != nil {
			return unprivileged(fmt.Errorf("enter the machine's %s namespace: %w", name, err))
		}
	}
	return nil
}

func unprivileged(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w; the container has to be privileged", err)
	}
	return err
}

// starterOf returns the next of the processes above this one that has other mounts than this one.
func starterOf(proc string) (string, error) {
	ours, err := os.Readlink(filepath.Join(proc, "self", "ns", "mnt"))
	if err != nil {
		return "", fmt.Errorf("%w; the machine's /proc has to be mounted in the container", err)
	}
	for at := "self"; ; {
		if at, err = parentOf(filepath.Join(proc, at, "status")); err != nil {
			return "", err
		}
		theirs, err := os.Readlink(filepath.Join(proc, at, "ns", "mnt"))
		if err != nil {
			return "", unprivileged(err)
		}
		if theirs != ours {
			return at, nil
		}
	}
}

// parentOf returns the parent of the process whose status this is.
func parentOf(status string) (string, error) {
	text, err := os.ReadFile(status)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if parent, ok := strings.CutPrefix(line, "PPid:"); ok {
			if parent = strings.TrimSpace(parent); parent != "0" {
				return parent, nil
			}
		}
	}
	return "", fmt.Errorf("%s does not lead to who has started this container: it must be in the machine's /proc, and not in the container's", status)
}
