package runc

import (
	"encoding/binary"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher tells of changes in directories, for all goroutines of a driver value, by one inotify instance.
type watcher struct {
	fd   int // file.Fd would make it block
	file *os.File
	done chan struct{}

	mu       sync.Mutex
	closed   bool
	byNumber map[int32]*watched
}

type watched struct {
	number  int32
	waiting map[chan struct{}]bool
}

// changes are those that somebody may wait for: files that appear or grow, a shim that ends (its files are closed), and the
// directory itself being removed.
const changes = unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	w := &watcher{fd: fd, file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{}), byNumber: map[int32]*watched{}}
	go w.run()
	return w, nil
}

func (w *watcher) close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return nil
	}
	err := w.file.Close()
	<-w.done
	return err
}

func (w *watcher) run() {
	defer close(w.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			number := int32(binary.NativeEndian.Uint32(b))
			if at := w.byNumber[number]; at != nil {
				at.tell()
			} else if number == -1 { // events were lost: anything may have changed
				for _, at := range w.byNumber {
					at.tell()
				}
			}
			b = b[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(b[12:]):]
		}
		w.mu.Unlock()
	}
}

func (at *watched) tell() {
	for c := range at.waiting {
		select {
		case c <- struct{}{}:
		default: // it has been told and has not looked yet
		}
	}
}

// watch returns a channel that gets a value after each change in a directory, until stop is called. Look after this call.
func (w *watcher) watch(dir string) (changed <-chan struct{}, stop func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nil, errClosed
	}
	number, err := unix.InotifyAddWatch(w.fd, dir, changes)
	if err != nil {
		return nil, nil, os.NewSyscallError("inotify_add_watch", err)
	}
	at := w.byNumber[int32(number)] // the kernel knows the directory, whatever its name is now
	if at == nil {
		at = &watched{number: int32(number), waiting: map[chan struct{}]bool{}}
		w.byNumber[at.number] = at
	}
	c := make(chan struct{}, 1)
	at.waiting[c] = true
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(at.waiting, c)
		if len(at.waiting) == 0 && w.byNumber[at.number] == at && !w.closed {
			delete(w.byNumber, at.number)
			unix.InotifyRmWatch(w.fd, uint32(at.number)) // fails where the directory is gone
		}
	}, nil
}
