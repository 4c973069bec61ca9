//go:build linux

package main

import (
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// reaper waits for every process of the container, as process 1 must, and tells those who started one how it ended.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
	empty   chan struct{} // closed when no process is left; nil if nobody asks
}

// process is one that was started here.
type process struct {
	pid     int
	started time.Time
	status  chan unix.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan unix.WaitStatus{}}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	go func() {
		for range ends {
			r.reap()
		}
	}()
	return r
}

// reap takes the ends that there are.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD && r.empty != nil:
			close(r.empty)
			r.empty = nil
			return
		case err != nil || pid <= 0:
			return
		}
		if c, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			c <- status
		}
	}
}

// start runs a command; its end comes out of status.
func (r *reaper) start(cmd *command, files ...*os.File) (*process, error) {
	r.mu.Lock() // nothing is reaped before it is known
	defer r.mu.Unlock()
	p := &process{started: time.Now(), status: make(chan unix.WaitStatus, 1)}
	pid, err := cmd.fork(files...)
	if err != nil {
		return nil, err
	}
	p.pid = pid
	r.waiting[pid] = p.status
	return p, nil
}

// clear kills every process but this one, and returns when they are gone.
func (r *reaper) clear() {
	empty := make(chan struct{})
	r.mu.Lock()
	r.empty = empty
	r.mu.Unlock()
	_ = unix.Kill(-1, unix.SIGKILL)
	r.reap()
	<-empty
}
