//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// container is process 1 of a container of the task.
type container struct {
	name    string
	user    string // of the command; empty is that of this process
	dir     string
	nonRoot bool
	keepEnv bool // the variables that lead to the API server
	home    bool // the spec says what HOME is
	args    []string

	conn  *net.UnixConn
	procs *reaper

	mu     sync.Mutex
	pid    int // of the command, while it runs
	termed bool
	code   int // for the end of this process
}

func runContainer(args []string) error {
	if len(args) == 0 {
		return errors.New("run: which container?")
	}
	c := &container{name: args[0]}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&c.user, "user", "", "user of the command")
	flags.StringVar(&c.dir, "dir", "", "working directory")
	flags.BoolVar(&c.nonRoot, "nonroot", false, "refuse user 0")
	flags.BoolVar(&c.keepEnv, "api", false, "keep the variables of the API server")
	flags.BoolVar(&c.home, "home", false, "leave HOME alone")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	c.args = flags.Args()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: wire.Socket, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("call the keeper: %w", err)
	}
	c.conn, c.procs = conn, newReaper()
	if err := send(conn, message{Op: msgHello, Name: c.name}); err != nil {
		return fmt.Errorf("call the keeper: %w", err)
	}
	go c.forward()
	c.obey()
	// The keeper has ended, and with it the task.
	_ = unix.Kill(-1, unix.SIGKILL)
	c.mu.Lock()
	defer c.mu.Unlock()
	os.Exit(c.code)
	return nil
}

// forward hands signals from outside on to the command.
func (c *container) forward() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	for s := range signals {
		n, ok := s.(unix.Signal)
		if !ok {
			continue
		}
		c.mu.Lock()
		c.termed = c.termed || n == unix.SIGTERM
		c.mu.Unlock()
		c.kill(n)
	}
}

func (c *container) kill(n unix.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid > 0 {
		_ = unix.Kill(c.pid, n)
	}
}

// obey does what the keeper says until the keeper ends.
func (c *container) obey() {
	buf := make([]byte, maxMessage+4096)
	for {
		m, files, err := receive(c.conn, buf)
		if err != nil {
			return
		}
		switch m.Op {
		case msgGo:
			c.launch(m.Prefix)
		case msgSignal:
			c.kill(unix.Signal(m.Signal))
		case msgCall:
			if len(files) == 1 && m.Request != nil {
				go c.answer(m.Request, files[0])
				continue
			}
		}
		_ = closeAll(files)
	}
}

// launch runs the command and tells the keeper how that went.
func (c *container) launch(prefix []string) {
	kills := oomKills()
	p, outputs, err := c.start(append(prefix, c.args...))
	if err != nil {
		_ = send(c.conn, message{Op: msgFailed, Reason: err.Error(), Time: time.Now()})
		return
	}
	err = send(c.conn, message{Op: msgStarted, Time: p.started}, outputs[0], outputs[1])
	outputs[0].Close()
	outputs[1].Close()
	if err != nil {
		return
	}
	go c.report(p, kills)
}

// report waits for the command's end, ends what it has left behind, and tells the keeper.
func (c *container) report(p *process, kills int64) {
	status := <-p.status
	ended := time.Now()
	c.mu.Lock()
	c.pid = 0
	termed := c.termed
	c.mu.Unlock()
	c.procs.clear()
	m := message{Op: msgExited, Time: ended, Termed: termed, OOM: oomKills() > kills}
	if status.Signaled() {
		m.Signal = int(status.Signal())
	} else {
		m.Code = status.ExitStatus()
	}
	c.mu.Lock()
	c.code = m.shellCode()
	c.mu.Unlock()
	_ = send(c.conn, m)
}

func (c *container) start(args []string) (p *process, outputs [2]*os.File, err error) {
	cmd, err := c.command(args, os.Environ(), c.dir, c.user)
	if err != nil {
		return nil, outputs, err
	}
	if c.nonRoot && cmd.uid() == 0 {
		return nil, outputs, errors.New("the container must not run as user 0 (NonRoot), and would")
	}
	var writing [2]*os.File
	for i := range outputs {
		if outputs[i], writing[i], err = os.Pipe(); err != nil {
			return nil, outputs, err
		}
		defer writing[i].Close()
		if cmd.cred != nil { // so that it can open /dev/stdout
			if err := writing[i].Chown(int(cmd.cred.Uid), int(cmd.cred.Gid)); err != nil {
				return nil, outputs, err
			}
		}
	}
	null, err := os.Open("/dev/null")
	if err != nil {
		return nil, outputs, err
	}
	defer null.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, err = c.procs.start(cmd, null, writing[0], writing[1]); err != nil {
		outputs[0].Close()
		outputs[1].Close()
		return nil, outputs, err
	}
	c.pid = p.pid
	return p, outputs, nil
}

// environment is that of the command: what leads to the API server is left out, unless the container has the credentials of an account there.
func (c *container) environment(env []string) []string {
	if c.keepEnv {
		return env
	}
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, "KUBERNETES_SERVICE_") && !strings.HasPrefix(v, "KUBERNETES_PORT") {
			kept = append(kept, v)
		}
	}
	return kept
}
