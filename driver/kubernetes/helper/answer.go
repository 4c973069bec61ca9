//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// answer does what a call asks for, in the container.
func (c *container) answer(r *wire.Request, fd int) {
	f := os.NewFile(uintptr(fd), "call")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return
	}
	defer conn.Close()
	w := wire.New(conn, conn)
	switch r.Op {
	case wire.OpExec:
		c.exec(w, r)
	case wire.OpStats:
		reply(w, usage())
	default:
		answerCopy(w, r)
	}
}

// exec runs a command beside the container's own.
func (c *container) exec(w *wire.Conn, r *wire.Request) {
	c.mu.Lock()
	runs := c.pid > 0
	c.mu.Unlock()
	if !runs {
		reply(w, fail(wire.Precondition, "the container does not run"))
		return
	}
	env := os.Environ()
	for _, v := range r.Env {
		name, value, _ := cutVariable(v)
		env = setVariable(env, name, value)
	}
	user, dir := r.User, r.Dir
	if user == "" {
		user = c.user
	}
	if dir == "" {
		dir = c.dir
	}
	cmd, err := c.command(r.Args, env, dir, user)
	if err == nil && c.nonRoot && cmd.uid() == 0 {
		err = errors.New("the container must not run as user 0 (NonRoot)")
	}
	if err != nil {
		reply(w, wire.Answer{Result: &wire.Result{Outcome: "start failed", Reason: err.Error()}})
		return
	}
	cmd.own = true
	res, err := c.execute(w, cmd, r.Stdin)
	if err != nil {
		reply(w, wire.Answer{Result: &wire.Result{Outcome: "start failed", Reason: err.Error()}})
		return
	}
	reply(w, wire.Answer{Result: res})
}

func cutVariable(s string) (name, value string, ok bool) {
	for i := range len(s) {
		if s[i] == '=' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func (c *container) execute(w *wire.Conn, cmd *command, stdin bool) (*wire.Result, error) {
	in, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer feed.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p, err := c.procs.start(cmd, in, outW, errW)
	in.Close()
	outW.Close()
	errW.Close()
	if err != nil {
		outR.Close()
		errR.Close()
		return nil, err
	}
	if !stdin {
		feed.Close()
	}
	ended := make(chan struct{})
	defer close(ended)
	go feedOrKill(w, feed, p, ended)
	outs := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	for i, f := range []*os.File{outR, errR} {
		kind := [2]byte{wire.FrameOut, wire.FrameErr}[i]
		go func() {
			defer close(outs[i])
			relay(w.Writer(kind), f)
		}()
	}
	status := <-p.status
	// What it has printed is in the pipes; what it has left behind may hold them open.
	_ = outR.SetReadDeadline(time.Now())
	_ = errR.SetReadDeadline(time.Now())
	<-outs[0]
	<-outs[1]
	res := &wire.Result{Outcome: "exited", Code: status.ExitStatus(), Started: p.started, Ended: time.Now()}
	if status.Signaled() {
		res.Outcome, res.Signal, res.Code = "signaled", int(status.Signal()), 128+int(status.Signal())
	}
	return res, nil
}

// feedOrKill writes what comes for the command's standard input; when the caller goes away, it kills the command.
func feedOrKill(w *wire.Conn, feed *os.File, p *process, ended <-chan struct{}) {
	for {
		kind, payload, err := w.Read()
		if err != nil {
			if !isClosed(ended) {
				_ = unix.Kill(-p.pid, unix.SIGKILL)
			}
			feed.Close()
			return
		}
		switch kind {
		case wire.FrameData:
			_, _ = feed.Write(payload) // a command that does not read it is free to do so
		case wire.FrameEnd:
			feed.Close()
		}
	}
}

// relay copies what a command prints, until the end of the pipe, or, after the deadline, of what is in it.
func relay(out io.Writer, f *os.File) {
	defer f.Close()
	buf := make([]byte, 64<<10)
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for {
		n, err := f.Read(buf)
		if n > 0 {
			_, _ = out.Write(buf[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = raw.Control(func(fd uintptr) {
				for {
					n, err := unix.Read(int(fd), buf)
					if n > 0 {
						_, _ = out.Write(buf[:n])
					}
					if n <= 0 && err != unix.EINTR {
						return
					}
				}
			})
		}
		if err != nil {
			return
		}
	}
}
