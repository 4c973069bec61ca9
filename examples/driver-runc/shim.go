package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
)

// shimName is the first argument that makes a program a shim. The second is the task's directory.
const shimName = "wharf-runc-shim"

// lockFD is shim.lock, locked, in a shim.
const lockFD = 3

// Shim looks after a container, and does not return, if this process was started for that. A program that uses the driver calls it
// before anything else.
func Shim() {
	if len(os.Args) != 2 || os.Args[0] != shimName {
		return
	}
	unix.CloseOnExec(lockFD) // runc shall not hold it
	t := &task{dir: os.Args[1]}
	if err := t.attend(); err != nil {
		fmt.Fprintln(os.Stderr, "shim:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// launch starts a shim, unless the task has one or has had one. Its lock is taken here and inherited, so that
// there is no moment without.
func (t *task) launch() error {
	name := filepath.Join(t.dir, "shim.lock")
	l, err := tryLock(name)
	for try := 0; errors.Is(err, unix.EWOULDBLOCK) && !t.started() && try < 50; try++ {
		time.Sleep(time.Millisecond) // whoever looks whether there is a shim holds its lock for a moment
		l, err = tryLock(name)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	if _, ended := t.result(); ended || t.started() {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: self, Args: []string{shimName, t.dir}, Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH")}}
	cmd.ExtraFiles = []*os.File{l}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // signals to this program's group are not for it
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the shim: %w", err)
	}
	go cmd.Wait() // only so that no zombie stays while this process lives
	return nil
}

// attend is the life of the shim: it starts the container, takes what it prints, and writes down how it ended. It works in the task's
// directory, which may get another name meanwhile.
func (t *task) attend() error {
	if err := os.Chdir(t.dir); err != nil {
		return err
	}
	t.dir = "."
	if err := readJSON(".", "task.json", &t.record); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // the container becomes a child when runc has ended
		return err
	}
	res, err := t.run()
	if err != nil {
		res.Outcome, res.Reason = driver.StartFailed, err.Error()
	}
	res.Ended = time.Now()
	return writeJSON(".", "exit.json", res)
}

// run runs the container from begin to end. An error says why it could not be started.
func (t *task) run() (res driver.Result, err error) {
	if err := t.writeBundle(); err != nil {
		return res, err
	}
	log, err := os.OpenFile("log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return res, err
	}
	defer log.Close()
	out, err := newPrinted(log)
	if err != nil {
		return res, err
	}
	defer out.wait()
	create := t.runc(context.Background(), "--log", "runc.log", "--log-format", "json",
		"create", "--bundle", ".", "--pid-file", "pid", t.container())
	create.Stdout, create.Stderr = out.stdout, out.stderr
	err = create.Run()
	out.closeOurs()
	if err != nil {
		return res, t.words("runc create", err)
	}
	defer t.runc(context.Background(), "delete", "--force", t.container()).Run()
	text, err := os.ReadFile("pid")
	if err != nil {
		return res, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return res, err
	}
	disconnect, err := t.connect(pid)
	if err != nil {
		return res, err
	}
	defer disconnect()
	res.Started = time.Now()
	out.begin()
	if err := t.runc(context.Background(), "--log", "runc.log", "--log-format", "json", "start", t.container()).Run(); err != nil {
		return res, t.words("runc start", err)
	}
	if err := writeJSON(".", "started.json", started{res.Started}); err != nil {
		return res, err
	}
	var status unix.WaitStatus
	for got := -1; got != pid; { // other children are those of the container that it has left to us
		if got, err = unix.Wait4(pid, &status, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return res, err
		}
	}
	if status.Signaled() {
		res.Outcome, res.Signal, res.Code = driver.Signaled, int(status.Signal()), 128+int(status.Signal())
	} else {
		res.Outcome, res.Code = driver.Exited, status.ExitStatus()
	}
	return res, nil
}

// words are the last of runc's log.
func (t *task) words(what string, err error) error {
	data, readErr := os.ReadFile("runc.log")
	if readErr != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	var last struct{ Msg string }
	if json.Unmarshal([]byte(lines[len(lines)-1]), &last) != nil || last.Msg == "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return errors.New(last.Msg)
}

// printed takes what a container prints into the log. Before the container begins, what comes is runc's, and is not the container's.
type printed struct {
	stdout, stderr *os.File
	began          chan struct{}
	readers        sync.WaitGroup
	log            *logWriter
}

func newPrinted(log *os.File) (*printed, error) {
	p := &printed{began: make(chan struct{}), log: &logWriter{file: log}}
	for _, s := range []struct {
		ours   **os.File
		stream driver.Stream
	}{{&p.stdout, driver.Stdout}, {&p.stderr, driver.Stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		*s.ours = w
		p.readers.Go(func() {
			defer r.Close()
			p.log.copy(r, s.stream, p.began)
		})
	}
	return p, nil
}

// closeOurs leaves the container the only one that holds the pipes. It is a process namespace of its own, so that none of
// its processes, and no hand on a pipe, outlives the main one.
func (p *printed) closeOurs() {
	p.stdout.Close()
	p.stderr.Close()
}

func (p *printed) begin() { close(p.began) }

func (p *printed) wait() { p.readers.Wait() }
