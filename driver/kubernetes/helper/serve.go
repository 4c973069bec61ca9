//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// server answers the driver's calls.
type server struct {
	t     *task
	calls sync.WaitGroup

	begun  atomic.Bool // a call for a volume has begun
	once   sync.Once
	served chan struct{} // closed when a call for a volume has ended
}

func (s *server) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.calls.Add(1)
		go func() {
			defer s.calls.Done()
			defer conn.Close()
			s.serve(conn.(*net.UnixConn))
		}()
	}
}

func (s *server) serve(conn *net.UnixConn) {
	w := wire.New(conn, conn)
	kind, payload, err := w.Read()
	if err != nil {
		return
	}
	var r wire.Request
	if kind != wire.FrameRequest || json.Unmarshal(payload, &r) != nil || r.Version != wire.Version {
		reply(w, fail(wire.Other, "the helper in the pod is of another version of Wharf than the driver"))
		return
	}
	if len(s.t.boxes) == 0 {
		s.begun.Store(true)
		answerCopy(w, &r)
		_, _ = io.Copy(io.Discard, conn) // until the caller has all of it
		s.once.Do(func() { close(s.served) })
		return
	}
	switch r.Op {
	case wire.OpExec, wire.OpCopyIn, wire.OpCopyOut:
		if a := s.pass(conn, &r); a != nil {
			reply(w, *a)
		}
		return
	case wire.OpDial:
		s.dial(w, r.Port)
		return
	}
	// The others read no more: the end of the connection ends them.
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		close(gone)
	}()
	reply(w, s.answer(w, &r, gone))
}

// reply writes the last frame. If that fails, nobody is there to be told.
func reply(w *wire.Conn, a wire.Answer) { _ = w.WriteJSON(wire.FrameAnswer, a) }

func fail(class, format string, args ...any) wire.Answer {
	return wire.Answer{Class: class, Error: fmt.Sprintf(format, args...)}
}

func (s *server) answer(w *wire.Conn, r *wire.Request, gone <-chan struct{}) wire.Answer {
	t := s.t
	switch r.Op {
	case wire.OpStart:
		t.begin(r.Prefix)
		select {
		case <-t.main.began:
		case <-t.done:
		case <-gone:
		}
		return wire.Answer{}
	case wire.OpWait:
		select {
		case <-t.done:
		case <-gone:
		}
		return t.outcome()
	case wire.OpStop:
		t.end(r.Grace)
		select {
		case <-t.over:
		case <-gone:
		}
		return wire.Answer{}
	case wire.OpState:
		state, _ := t.standing()
		return wire.Answer{State: state}
	case wire.OpStates:
		return t.states(w, gone)
	case wire.OpLogs:
		return t.logs(w, r, gone)
	case wire.OpStats:
		return t.stats()
	}
	return fail(wire.Other, "the helper does not know the operation %q", r.Op)
}

func (t *task) outcome() wire.Answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := wire.Answer{Result: &t.result}
	if isClosed(t.termed) && !t.main.endedBefore() {
		a.Class = wire.Interrupted
	}
	return a
}

// endedBefore reports whether the container's end is no work of a TERM from outside.
func (b *box) endedBefore() bool {
	r := b.record()
	return r.Op != "" && !r.Termed
}

func (t *task) states(w *wire.Conn, gone <-chan struct{}) wire.Answer {
	for {
		state, changed := t.standing()
		if err := w.Write(wire.FrameState, []byte(state)); err != nil {
			return wire.Answer{}
		}
		if state == wire.Ended {
			return wire.Answer{State: state}
		}
		select {
		case <-changed:
		case <-gone:
			return wire.Answer{}
		}
	}
}

// logs sends the records from an offset on.
func (t *task) logs(w *wire.Conn, r *wire.Request, gone <-chan struct{}) wire.Answer {
	size, _, _, _ := t.spool.standing()
	if r.From < 0 || r.From > size {
		return fail(wire.Invalid, "the log has %d bytes, and not %d", size, r.From)
	}
	from, limit := r.From, size
	buf := make([]byte, 512<<10)
	for {
		size, over, changed, broken := t.spool.standing()
		if r.Follow {
			limit = size
		}
		for from < limit {
			b, err := t.spool.batch(buf, from, limit)
			if errors.Is(err, wire.ErrRecord) {
				return fail(wire.Invalid, "at %d: %v", from, err)
			}
			if err != nil || len(b) == 0 {
				return fail(wire.Other, "read the log: %v", err)
			}
			if err := w.Write(wire.FrameLog, b); err != nil {
				return wire.Answer{}
			}
			from += int64(len(b))
		}
		switch {
		case broken != nil:
			return fail(wire.Exhausted, "%v", broken)
		case !r.Follow:
			return wire.Answer{}
		case over && from == size:
			if isClosed(t.termed) && !t.main.endedBefore() {
				return wire.Answer{Class: wire.Interrupted}
			}
			return wire.Answer{}
		}
		select {
		case <-changed:
		case <-gone:
			return wire.Answer{}
		}
	}
}

// pass hands the connection to the container that answers.
func (s *server) pass(conn *net.UnixConn, r *wire.Request) *wire.Answer {
	b := s.t.main
	if r.Box != "" {
		b = nil
		for _, each := range s.t.boxes {
			if each.Name == r.Box {
				b = each
			}
		}
	}
	if b == nil {
		a := fail(wire.NotFound, "the task has no container %q", r.Box)
		return &a
	}
	if r.Op == wire.OpExec && !b.running() {
		a := fail(wire.Precondition, "the container does not run")
		return &a
	}
	f, err := conn.File()
	if err == nil {
		defer f.Close()
		// File shares the open file with conn: what is passed on shall not be in the mode of this program's poller there.
		err = b.hand(r, f)
	}
	if err != nil {
		a := fail(wire.Precondition, "%v", err)
		return &a
	}
	return nil
}

// dial connects the caller with a port.
func (s *server) dial(w *wire.Conn, port int) {
	if state, _ := s.t.standing(); state != wire.Starting && state != wire.Running {
		reply(w, fail(wire.Precondition, "the task does not run"))
		return
	}
	c, err := dialPort(port)
	if err != nil {
		reply(w, fail(wire.Unavailable, "%v", err))
		return
	}
	defer c.Close()
	if w.Write(wire.FrameReady, nil) != nil {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(w.Writer(wire.FrameData), struct{ io.Reader }{c})
		_ = w.Write(wire.FrameEnd, nil)
	}()
	for {
		kind, payload, err := w.Read()
		if err != nil {
			return
		}
		switch kind {
		case wire.FrameData:
			_, err = c.Write(payload)
		case wire.FrameEnd:
			err = c.(*net.TCPConn).CloseWrite()
			go func() { // both directions have ended: say so
				<-ended
				reply(w, wire.Answer{})
			}()
		}
		if err != nil && kind == wire.FrameData {
			<-ended
			reply(w, fail(wire.Unavailable, "%v", err))
			return
		}
	}
}

// stats asks the containers that run and adds up what they say.
func (t *task) stats() wire.Answer {
	if !t.main.running() {
		return fail(wire.Precondition, "the task does not run")
	}
	var sum wire.Usage
	for _, b := range t.boxes {
		if !b.running() {
			continue
		}
		u, err := b.usage()
		if err != nil {
			return fail(wire.Other, "%v", err)
		}
		sum.CPU += u.CPU
		sum.Memory += u.Memory
		sum.PIDs += u.PIDs
	}
	return wire.Answer{Usage: &sum}
}

func (b *box) usage() (*wire.Usage, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "usage"), os.NewFile(uintptr(pair[1]), "usage")
	defer ours.Close()
	err = b.hand(&wire.Request{Version: wire.Version, Op: wire.OpStats}, theirs)
	theirs.Close()
	if err != nil {
		return nil, err
	}
	_, payload, err := wire.New(ours, ours).Read()
	if err != nil {
		return nil, err
	}
	var a wire.Answer
	if err := json.Unmarshal(payload, &a); err != nil {
		return nil, err
	}
	if a.Usage == nil {
		return nil, errors.New(a.Error)
	}
	return a.Usage, nil
}
