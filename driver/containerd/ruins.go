//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// A daemon whose caller goes away while it makes a process undoes what it has made so far. Now and then it fails at that: it removes the
// bundle, the directory of the process, while it is in use, or by a name that an earlier ruin has already; or the shim hangs
// (https://github.com/containerd/containerd/issues/13977, https://github.com/moby/moby/issues/50040). It leaves a directory with which the
// container could never be started again, and which nobody would remove before the machine starts again.
//
// What is done about it destroys things, as root. So it is done only while we hold the container's record in the daemon, by whose ID the bundle
// is called, and only where this daemon has shown its bundles to be, or where there is one of an ID that nobody else can have.

// bundles is the directory of the daemon's bundles, below its state directory and with one directory for each namespace.
const bundles = "io.containerd.runtime.v2.task"

// How long nothing must be seen of a process whose making broke off until it counts as undone, how long the daemon may take for that before it is
// helped, and how long it may take to notice that a shim was killed. No event tells of any.
const (
	settleTime = time.Second
	helpAfter  = 15 * time.Second
	noticeTime = 8 * time.Second
)

// errInTheWay says that something that was made before keeps a process from being made.
var errInTheWay = driver.WithClass(errdefs.ErrUnavailable, "containerd has not undone an earlier start that broke off; restart containerd if it never does")

// awaitUndone waits until nothing is seen any more of a process whose making broke off, or the process was made after all; it helps a daemon that
// does not get on.
func (d *Driver) awaitUndone(ctx context.Context, id string, settle time.Duration) error {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	quiet, busy := time.Now(), time.Now()
	for helped := 0; helped < 4; {
		res, err := d.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
		if err == nil && res.Process.Status != task.Status_UNKNOWN {
			return nil
		}
		if err != nil && !notFound(err) && !errdefs.IsDeadlineExceeded(errgrpc.ToNative(err)) {
			return err
		}
		if unknown := notFound(err); unknown && !d.remains(id) {
			if time.Since(quiet) >= settle {
				return nil
			}
			busy = time.Now()
		} else {
			quiet = time.Now()
			if time.Since(busy) > d.helpAfter {
				if err := d.help(ctx, id, unknown); err != nil {
					return driver.WithClass(errdefs.ErrUnavailable, "%s: %s", errInTheWay, err)
				}
				quiet, busy = time.Now(), time.Now()
				helped++
			}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errInTheWay
}

// help ends a shim that hangs, for the daemon to clear up after it. Where there is none, and the daemon knows of no process, it removes what is left.
func (d *Driver) help(ctx context.Context, id string, unknown bool) error {
	dir := d.bundle(id)
	if dir == "" {
		return nil
	}
	killed := false
	for _, pid := range shims(dir) {
		did, err := endShim(pid, dir)
		if err != nil {
			return err
		}
		killed = killed || did
	}
	if killed {
		notice := time.NewTimer(d.noticeTime)
		defer notice.Stop()
		select {
		case <-notice.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !unknown {
		return nil
	}
	d.shimDelete(ctx, dir, id)
	return errors.Join(removeBundle(dir), removeBundle(hidden(dir)))
}

// inTheWay reports whether an error says that a container's bundle is there already. It tells where the daemon's bundles are.
func (d *Driver) inTheWay(err error, id string) bool {
	native := errgrpc.ToNative(err)
	place := regexp.MustCompile(`^(?:failed to start shim: )?mkdir (/\S+/` + regexp.QuoteMeta(bundles) + `)` + regexp.QuoteMeta(filepath.Join("/", d.cfg.Namespace, id)) + `: file exists`)
	if m := place.FindStringSubmatch(native.Error()); m != nil {
		d.bundles.Store(&m[1])
		return true
	}
	return errdefs.IsAlreadyExists(native)
}

// learnBundles remembers where the daemon's bundles are. A shim, the parent of a container's process, works in its own.
func (d *Driver) learnBundles(pid uint32, id string) {
	if d.bundles.Load() != nil {
		return
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	var shim int
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "PPid:\t%d", &shim)
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", shim))
	if dir, ok := strings.CutSuffix(cwd, filepath.Join("/", d.cfg.Namespace, id)); err == nil && ok && filepath.Base(dir) == bundles {
		d.bundles.Store(&dir)
	}
}

// bundle is the directory that the daemon makes for a container's process, or "" if it is not known where. A process that has started nothing yet
// looks in the usual places for an init container or service, in whose ID a part is random: a main container is called after the task, and another daemon
// may have one of that name.
func (d *Driver) bundle(id string) string {
	if dir := d.bundles.Load(); dir != nil {
		return filepath.Join(*dir, d.cfg.Namespace, id)
	}
	if !strings.Contains(id, "-") {
		return ""
	}
	for _, state := range []string{filepath.Dir(d.cfg.Address), defaults.DefaultStateDir} {
		dir := filepath.Join(state, bundles)
		bundle := filepath.Join(dir, d.cfg.Namespace, id)
		if exists(bundle) || exists(hidden(bundle)) {
			d.bundles.CompareAndSwap(nil, &dir)
			return bundle
		}
	}
	return ""
}

// hidden is what the daemon renames a bundle to while it removes it.
func hidden(bundle string) string {
	return filepath.Join(filepath.Dir(bundle), "."+filepath.Base(bundle))
}

// remains reports whether a container's bundle is there, or on its way out, or a shim works where it was.
func (d *Driver) remains(id string) bool {
	dir := d.bundle(id)
	return dir != "" && (exists(dir) || exists(hidden(dir)) || len(shims(dir)) > 0)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// shimDelete runs the shim's delete command, as the daemon does for a shim that has died
// (https://github.com/containerd/containerd/blob/main/core/runtime/v2/README.md). It removes the container's process, if there is one; it fails if there is
// none.
func (d *Driver) shimDelete(ctx context.Context, dir, id string) {
	shim, err := os.ReadFile(filepath.Join(dir, "shim-binary-path"))
	if numberedElsewhere() || err != nil || !filepath.IsAbs(string(shim)) || !strings.HasPrefix(filepath.Base(string(shim)), shimName) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.noticeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, string(shim), "-namespace", d.cfg.Namespace, "-address", d.cfg.Address, "-publish-binary", "/bin/false", "-id", id, "-bundle", dir, "delete")
	cmd.Dir = dir
	_ = cmd.Run()
}

// removeBundle removes a bundle that nobody uses. What is mounted there is the container's file system, and must not be emptied.
func removeBundle(dir string) error {
	work, workErr := os.Readlink(filepath.Join(dir, "work"))
	rootfs := filepath.Join(dir, "rootfs")
	if err := mount.UnmountRecursive(rootfs, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmount %s: %w", rootfs, err)
	}
	if err := os.Remove(rootfs); err != nil && !errors.Is(err, fs.ErrNotExist) { // it fails where something is still mounted
		return err
	}
	if workErr == nil && strings.HasSuffix(work, filepath.Join("/", bundles, filepath.Base(filepath.Dir(dir)), strings.TrimPrefix(filepath.Base(dir), "."))) {
		if err := os.RemoveAll(work); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// shimName is what the names of shims' programs begin with.
const shimName = "containerd-shim"

// shims returns the processes that are shims and work in a bundle, or in what it was.
func shims(bundle string) []int {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is good
	var pids []int
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err == nil && isShim(pid, bundle) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isShim does not look into containers, whose processes may call themselves and their directories as they like.
func isShim(pid int, bundle string) bool {
	proc := fmt.Sprintf("/proc/%d/", pid)
	cwd, err := os.Readlink(proc + "cwd")
	if cwd = strings.TrimSuffix(cwd, " (deleted)"); err != nil || cwd != bundle && cwd != hidden(bundle) {
		return false
	}
	theirs, err := os.Readlink(proc + "ns/mnt")
	ours, ourErr := os.Readlink("/proc/self/ns/mnt")
	name, nameErr := os.ReadFile(proc + "comm")
	return err == nil && ourErr == nil && nameErr == nil && theirs == ours && strings.HasPrefix(string(name), shimName)
}

// endShim kills a shim, unless its process is another by now.
func endShim(pid int, bundle string) (killed bool, err error) {
	if numberedElsewhere() {
		return false, fmt.Errorf("a shim of containerd hangs, process %d of the machine, and cannot be ended from a container: kill it", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if !isShim(pid, bundle) {
		return false, nil
	}
	err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	return err == nil, err
}
