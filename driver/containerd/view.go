//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// onThread runs f on a thread of its own, which ends with it: whatever f does to the thread's root, working directory
// or namespaces ends too, also when the process is killed.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end; while this goroutine holds it, another gets another.
			result <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		result <- f()
	}()
	return <-result
}

// insideDir runs f with a directory as its root: no link leads out of it.
func insideDir(dir string, f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return enter(dir, f)
	})
}

func enter(dir string, f func() error) error {
	if err := unix.Chroot(dir); err != nil {
		return fmt.Errorf("chroot to %s: %w", dir, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return f()
}

// inside runs f with the file system of a task's main container as its root, volumes included: its own mounts
// if it runs, and else the same, put together for this call alone.
func (d *Driver) inside(ctx context.Context, h handle, f func() error) error {
	for range 100 {
		s, err := d.inspect(ctx, h, h.container)
		if err != nil {
			return err
		}
		if s.phase == phaseRunning {
			ns, ok, err := d.mountsOf(ctx, h, s)
			if err != nil {
				return err
			}
			if !ok {
				continue // it has ended meanwhile
			}
			defer ns.Close()
			return insideNamespace(ns, f)
		}
		if again, err := d.insideStill(ctx, h, f); !again {
			return err
		}
	}
	return driver.WithClass(errdefs.ErrFailedPrecondition, "containerd says that the container runs, and its process is not to be seen here: is this the PID namespace of containerd?")
}

// mountsOf takes hold of the mounts of a container that runs; false if it does no more.
func (d *Driver) mountsOf(ctx context.Context, h handle, s standing) (*os.File, bool, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", s.task.Pid))
	// The number may have become another process's before the file was opened.
	again, lookErr := d.inspect(ctx, h, h.container)
	if lookErr == nil && again.phase == phaseRunning && again.task.Pid == s.task.Pid {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		return ns, err == nil, err
	}
	if err == nil {
		ns.Close()
	}
	return nil, false, lookErr
}

// insideStill is inside for a container that does not run. It must not be started meanwhile: what changes below a file system in use may never show
// in it. If it was, nothing is done, and again is true.
func (d *Driver) insideStill(ctx context.Context, h handle, f func() error) (again bool, err error) {
	unlock, err := d.lockTask(h)
	if err != nil {
		return false, err
	}
	defer unlock()
	s, err := d.inspect(ctx, h, h.container)
	switch {
	case err != nil:
		return false, err
	case s.phase == phaseGoing:
		return false, driver.WithClass(errdefs.ErrNotFound, "the task is being removed")
	case s.phase == phaseRunning:
		return true, nil
	}
	return false, d.insideSnapshot(ctx, d.taskDir(h), s.Container, f)
}

func insideNamespace(ns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the container's mounts: %w", err)
		}
		return f()
	})
}

// insideSnapshot mounts a container's file system and volumes where nobody else sees them. Under is an own
// directory to mount it on.
func (d *Driver) insideSnapshot(ctx context.Context, under string, c containers.Container, f func() error) error {
	mounts, err := d.client.SnapshotService(d.cfg.Snapshotter).Mounts(ctx, c.SnapshotKey)
	if err != nil {
		return err
	}
	v, err := typeurl.UnmarshalAny(c.Spec)
	if err != nil {
		return err
	}
	spec, ok := v.(*specs.Spec)
	if !ok {
		return fmt.Errorf("the container has no specification but %T", v)
	}
	target := filepath.Join(under, "root")
	if err := os.MkdirAll(target, 0o700); err != nil {
		return err
	}
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("keep mounts private: %w", err)
		}
		if err := mountAll(mounts, target); err != nil {
			return err
		}
		trees, err := d.volumeTrees(spec)
		defer closeTrees(trees)
		if err != nil {
			return err
		}
		return enter(target, func() error {
			if err := attachTrees(trees); err != nil {
				return err
			}
			return f()
		})
	})
}

// tree is a mount that is not attached anywhere yet.
type tree struct {
	fd   int
	path string
}

func closeTrees(trees []tree) {
	for _, t := range trees {
		unix.Close(t.fd)
	}
}

// volumeTrees takes hold of a container's volumes, before their paths are out of reach.
func (d *Driver) volumeTrees(spec *specs.Spec) ([]tree, error) {
	var trees []tree
	for _, m := range spec.Mounts {
		if m.Type != "bind" || !strings.HasPrefix(m.Source, d.volumesDir()+"/") {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return trees, fmt.Errorf("volume at %s: %w", m.Destination, err)
		}
		trees = append(trees, tree{fd, m.Destination})
	}
	return trees, nil
}

func attachTrees(trees []tree) error {
	for _, t := range trees {
		if err := os.MkdirAll(path.Clean(t.path), 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, t.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount the volume at %s: %w", t.path, err)
		}
	}
	return nil
}

// mountAll mounts on this very thread; the mounts of a snapshot are overlays or bind mounts.
func mountAll(mounts []mount.Mount, target string) error {
	for _, m := range mounts {
		var flags uintptr
		var data []string
		for _, o := range m.Options {
			switch o {
			case "bind":
				flags |= unix.MS_BIND
			case "rbind":
				flags |= unix.MS_BIND | unix.MS_REC
			case "ro":
				flags |= unix.MS_RDONLY
			case "rw", "index=off":
			default:
				data = append(data, o)
			}
		}
		if err := mountShort(m, target, flags, data); err != nil {
			return fmt.Errorf("mount the container's file system (%s): %w", m.Type, err)
		}
	}
	return nil
}

// mountShort names an overlay's directories from where they all are: the kernel takes one page of options.
func mountShort(m mount.Mount, target string, flags uintptr, options []string) error {
	data := strings.Join(options, ",")
	if len(data) >= os.Getpagesize() && m.Type == "overlay" {
		if base := snapshotsDir(options); base != "" {
			if err := unix.Chdir(base); err != nil {
				return err
			}
			data = strings.ReplaceAll(strings.ReplaceAll(data, "="+base+"/", "="), ":"+base+"/", ":")
		}
	}
	return unix.Mount(m.Source, target, m.Type, flags, data)
}

// snapshotsDir is the directory two above the first lower one, where snapshotters keep all of them.
func snapshotsDir(options []string) string {
	for _, o := range options {
		if l, ok := strings.CutPrefix(o, "lowerdir="); ok {
			first, _, _ := strings.Cut(l, ":")
			return path.Dir(path.Dir(first))
		}
	}
	return ""
}
