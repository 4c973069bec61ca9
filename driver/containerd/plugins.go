//go:build linux

package containerd

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/containernetworking/cni/pkg/invoke"
	"golang.org/x/sys/unix"
)

// plugins runs CNI plugins. They look for themselves in /proc by their number, which is another one there when this process is in the mounts of
// its machine and still in the process namespace of a container: then they get a /proc of their own.
type plugins struct{ invoke.DefaultExec }

func (p *plugins) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) (out []byte, err error) {
	if !numberedElsewhere() {
		return p.DefaultExec.ExecPlugin(ctx, path, stdin, environ)
	}
	err = onThread(func() error {
		if err := ownProc(); err != nil {
			return fmt.Errorf("prepare to run a CNI plugin: %w", err)
		}
		out, err = p.DefaultExec.ExecPlugin(ctx, path, stdin, environ)
		return err
	})
	return out, err
}

// numberedElsewhere reports whether the numbers of processes in /proc are other ones than this process can use.
func numberedElsewhere() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self != strconv.Itoa(os.Getpid())
}

// ownProc gives the calling thread mounts of its own, in which /proc is that of its process namespace.
func ownProc() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}
