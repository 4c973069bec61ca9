//go:build linux

package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// netnsFile is where a network namespace is kept: a file that it is mounted on, so that it lives without a
// process, and any process can remove it.
func (d *Driver) netnsFile(uid string) string { return filepath.Join(d.cfg.State, "netns", uid) }

// makeNetns makes a network namespace in which the loopback interface is up.
func makeNetns(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o400)
	if err != nil {
		return err
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("start the loopback interface: %w", err)
		}
		self := "/proc/thread-self/ns/net" // whose number may be another one in /proc
		if err := unix.Mount(self, file, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep a network namespace: %w", err)
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

// dropNetns removes a network namespace, once no process uses it any more. One that is not there is no error.
func dropNetns(file string) error {
	for {
		err := unix.Unmount(file, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // not mounted, not there
			break
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", file, err)
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isNetns reports whether a namespace is mounted on the file: after a restart of the machine, none is.
func isNetns(file string) bool {
	var s unix.Statfs_t
	return unix.Statfs(file, &s) == nil && s.Type == unix.NSFS_MAGIC
}

// inNetns runs f in a network namespace.
func inNetns(file string, f func() error) error {
	return onThread(func() error {
		ns, err := os.Open(file)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}
