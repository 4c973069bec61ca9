package testprog

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// OS returns the operating system, for the program in a container.
func OS() System { return &osSystem{} }

type osSystem struct {
	eaten [][]byte
}

func (*osSystem) Args() []string            { return os.Args }
func (*osSystem) Environ() []string         { return os.Environ() }
func (*osSystem) Stdout() io.Writer         { return os.Stdout }
func (*osSystem) Stderr() io.Writer         { return os.Stderr }
func (*osSystem) Getwd() (string, error)    { return os.Getwd() }
func (*osSystem) Hostname() (string, error) { return os.Hostname() }
func (*osSystem) Now() time.Time            { return time.Now() }

func (*osSystem) IDs() (uid, gid int, groups []int) {
	groups, _ = os.Getgroups()
	return os.Getuid(), os.Getgid(), groups
}

func (*osSystem) Signals() <-chan int {
	in, out := make(chan os.Signal, 16), make(chan int, 16)
	signal.Notify(in, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	go func() {
		for s := range in {
			out <- int(s.(syscall.Signal))
		}
	}()
	return out
}

// Kill uses up a limit of processor time. A process that is the first of its
// container cannot be killed by a signal from inside; the kernel's own KILL reaches it.
func (*osSystem) Kill() {
	syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: 1, Max: 1})
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for n := uint64(1); n != 0; {
				n = n*6364136223846793005 | 1
			}
		}()
	}
	select {}
}

func (*osSystem) Pause() {
	// A channel that is waited for by a signal handler keeps the runtime from seeing a deadlock.
	in := make(chan os.Signal, 1)
	signal.Notify(in, syscall.SIGUSR2)
	for range in {
	}
}

func (s *osSystem) Eat(n int64) {
	b := make([]byte, n)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	s.eaten = append(s.eaten, b)
}

func (*osSystem) Spawn(args ...string) (func() int, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() int {
		var exit *exec.ExitError
		if err := cmd.Wait(); errors.As(err, &exit) {
			if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
				return 128 + int(ws.Signal())
			}
			return exit.ExitCode()
		} else if err != nil {
			return -1
		}
		return 0
	}, nil
}

// Await watches the directory. Some file systems (networked, or changed from another kernel's view)
// tell nothing, so it also looks once a second.
func (*osSystem) Await(path string) error {
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return err
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	defer watch.Close()
	_, err = syscall.InotifyAddWatch(fd, filepath.Dir(path), syscall.IN_CREATE|syscall.IN_MOVED_TO|syscall.IN_ATTRIB)
	if err != nil {
		return &fs.PathError{Op: "watch", Path: filepath.Dir(path), Err: err}
	}
	buf := make([]byte, 64<<10)
	for {
		if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		watch.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := watch.Read(buf); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

type osInfo struct{ fs.FileInfo }

func (i osInfo) Sys() any { return osInode{i.FileInfo.Sys().(*syscall.Stat_t)} }

type osInode struct{ st *syscall.Stat_t }

func (n osInode) Owner() (uid, gid int) { return int(n.st.Uid), int(n.st.Gid) }
func (n osInode) Links() int            { return int(n.st.Nlink) }
func (n osInode) Number() uint64        { return n.st.Ino }

func (*osSystem) Lstat(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return osInfo{info}, nil
}

func (*osSystem) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (*osSystem) Create(path string, perm fs.FileMode) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, perm)
}

func (*osSystem) Readlink(path string) (string, error)      { return os.Readlink(path) }
func (*osSystem) Open(path string) (io.ReadCloser, error)   { return os.Open(path) }
func (*osSystem) Mkdir(path string, perm fs.FileMode) error { return os.Mkdir(path, perm) }
func (*osSystem) Symlink(target, path string) error         { return os.Symlink(target, path) }
func (*osSystem) Link(old, path string) error               { return os.Link(old, path) }
func (*osSystem) Chmod(path string, mode fs.FileMode) error { return os.Chmod(path, mode) }
func (*osSystem) Chown(path string, uid, gid int) error     { return os.Lchown(path, uid, gid) }
func (*osSystem) Chtimes(path string, t time.Time) error    { return os.Chtimes(path, t, t) }
func (*osSystem) Remove(path string) error                  { return os.Remove(path) }
