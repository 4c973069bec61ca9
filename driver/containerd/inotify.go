//go:build linux

package containerd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watcher tells of changes to the files of tasks' directories. It has one inotify instance for all of a driver value, as long as there is
// something to watch: of those, a user has few. The zero value, with d set, is ready for use.
type watcher struct {
	d    *Driver
	mu   sync.Mutex
	f    *os.File              // the instance, or nil
	dirs map[int32]*watchedDir // by watch descriptor of f
	stop func() bool           // ends that f is closed with the driver
}

// watchedDir is a directory that somebody has asked for.
type watchedDir struct {
	path    string
	users   map[*dirWatch]bool
	marking bool // times are noted of what is written, until the directory is gone; see marks.go
}

// dirWatch is one user's watch over a directory.
type dirWatch struct {
	w       *watcher
	dir     *watchedDir
	wd      int32
	changed chan struct{} // holds one wake-up, for the reader
	mu      sync.Mutex
	again   chan struct{} // closed and replaced with each change, for awaitWriters
}

// watch begins to watch a directory. Changes after its return are told.
func (w *watcher) watch(dir string) (*dirWatch, error) {
	u := &dirWatch{w: w, changed: make(chan struct{}, 1), again: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := w.add(dir)
	if err != nil {
		return nil, err
	}
	u.wd, u.dir = wd, w.dirs[wd]
	u.dir.users[u] = true
	return u, nil
}

// mark has times noted of what is written in a directory, as long as the driver is open and the directory is there.
func (w *watcher) mark(dir string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := w.add(dir)
	if err == nil {
		w.dirs[wd].marking = true
	}
	return err
}

// add makes sure that a directory is watched. The same directory has the same descriptor.
func (w *watcher) add(dir string) (int32, error) {
	if err := w.start(); err != nil {
		return 0, err
	}
	wd, err := w.control(func(fd int) (int, error) {
		return unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_CLOSE_WRITE|unix.IN_DELETE_SELF|unix.IN_ONLYDIR)
	})
	if err != nil {
		w.rest()
	}
	if errors.Is(err, unix.ENOENT) {
		return 0, os.ErrNotExist
	}
	if err != nil {
		return 0, fmt.Errorf("watch %s: %w (the limit is fs.inotify.max_user_watches)", dir, err)
	}
	if w.dirs[int32(wd)] == nil {
		w.dirs[int32(wd)] = &watchedDir{path: dir, users: map[*dirWatch]bool{}}
	}
	return int32(wd), nil
}

// control runs f with the descriptor, which stays open meanwhile.
func (w *watcher) control(f func(fd int) (int, error)) (n int, err error) {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if outer := raw.Control(func(fd uintptr) { n, err = f(int(fd)) }); outer != nil {
		return 0, outer
	}
	return n, err
}

func (w *watcher) start() error {
	if err := w.d.ctx.Err(); err != nil {
		return context.Cause(w.d.ctx)
	}
	if w.f != nil {
		return nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch files: %w (the limit is fs.inotify.max_user_instances)", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	w.f, w.dirs = f, map[int32]*watchedDir{}
	w.stop = context.AfterFunc(w.d.ctx, func() { f.Close() })
	w.d.tasks.Go(func() { w.run(f) })
	return nil
}

// rest gives the instance back if there is nothing to watch.
func (w *watcher) rest() {
	if len(w.dirs) > 0 || w.f == nil {
		return
	}
	w.stop()
	w.f.Close()
	w.f = nil
}

// run hands changes on until the instance is closed. What comes in quick succession is told a thousand times a second and no oftener.
func (w *watcher) run(f *os.File) {
	const most = time.Millisecond
	buf := make([]byte, 64<<10)
	pause := time.NewTimer(most)
	defer pause.Stop()
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		w.tell(f, buf[:n])
		<-pause.C
		pause.Reset(most)
	}
}

// tell marks the times of the files that have changed, and wakes who watches them.
func (w *watcher) tell(f *os.File, events []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f != f {
		return // the descriptors of another instance mean other directories
	}
	defer w.rest()
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events[unsafe.Offsetof(unix.InotifyEvent{}.Wd):]))
		mask := binary.NativeEndian.Uint32(events[unsafe.Offsetof(unix.InotifyEvent{}.Mask):])
		length := int(binary.NativeEndian.Uint32(events[unsafe.Offsetof(unix.InotifyEvent{}.Len):]))
		name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+length], "\x00"))
		events = events[unix.SizeofInotifyEvent+length:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			for _, d := range w.dirs {
				d.wake()
			}
			continue
		}
		d := w.dirs[wd]
		if d == nil {
			continue
		}
		if file := filepath.Join(d.path, name); d.marking && mask&unix.IN_MODIFY != 0 {
			noteTime(file)
		} else if d.marking && mask&unix.IN_CLOSE_WRITE != 0 {
			noteBreak(file)
		}
		d.wake()
		if mask&unix.IN_IGNORED != 0 { // the directory is gone
			delete(w.dirs, wd)
		}
	}
}

func (d *watchedDir) wake() {
	for u := range d.users {
		select {
		case u.changed <- struct{}{}:
		default:
		}
		u.mu.Lock()
		close(u.again)
		u.again = make(chan struct{})
		u.mu.Unlock()
	}
}

// close ends the watch, and that of the directory if nobody else needs it.
func (u *dirWatch) close() {
	u.w.mu.Lock()
	defer u.w.mu.Unlock()
	d := u.dir
	delete(d.users, u)
	if u.w.dirs[u.wd] != d { // it is gone
		return
	}
	if len(d.users) == 0 && !d.marking {
		delete(u.w.dirs, u.wd)
		_, _ = u.w.control(func(fd int) (int, error) { return unix.InotifyRmWatch(fd, uint32(u.wd)) }) // gone with the directory, or with the driver
		u.w.rest()
	}
}

// awaitWriters waits until no process has the file open for writing: the shim closes it when it has written all
// that the container printed. The kernel grants a lease for reading only then, so that also one who comes later knows.
func (u *dirWatch) awaitWriters(ctx context.Context, file string) error {
	for {
		u.mu.Lock()
		again := u.again
		u.mu.Unlock()
		written, err := unwritten(file)
		if written || err != nil {
			return err
		}
		select {
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// unwritten reports whether no process has the file open for writing. A file that is not there, nobody has.
func unwritten(file string) (bool, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() // which gives the lease back
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for a lease of %s: %w", file, err)
	}
	return true, nil
}
