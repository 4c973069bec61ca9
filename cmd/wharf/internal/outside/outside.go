//go:build linux

// Package outside gives a process in a container a driver that acts on the machine below it. The driver is in a child process, which is in the mounts and the
// network of whoever started the container, containerd's shim; this process stays where it is, and reaches the driver by a socket.
package outside

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/remote"
)

// Command is the hidden command of wharf that the child process runs, with the URL of a driver as its argument.
const Command = "serve-driver"

// Driver is one that the child process has.
type Driver struct {
	*remote.Driver
	listener net.Listener
	dir      string
	stop     context.CancelFunc
	ended    chan struct{}
}

// Open starts the child process for a driver's URL. proc is where the machine's /proc is mounted. The container has to be privileged. A child that dies is started again.
func Open(proc, url string) (*Driver, error) {
	dir, err := os.MkdirTemp("", "wharf-driver-")
	if err != nil {
		return nil, err
	}
	d := &Driver{dir: dir, ended: make(chan struct{})}
	path := filepath.Join(dir, "socket")
	if d.listener, err = net.Listen("unix", path); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	began := make(chan error, 1)
	go d.supervise(ctx, child{proc, url, d.listener.(*net.UnixListener)}, began)
	err = <-began
	if err == nil {
		d.Driver, err = remote.New(remote.Config{Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) }})
	}
	if err != nil {
		return nil, errors.Join(err, d.end())
	}
	return d, nil
}

// Close ends the child process too. See [driver.Driver].
func (d *Driver) Close() error { return errors.Join(d.Driver.Close(), d.end()) }

// end has the child end. One that is still clearing up is not waited for longer than a driver's Close may take; it goes on as long as this process lives.
func (d *Driver) end() error {
	d.stop()
	t := time.NewTimer(4 * time.Second)
	defer t.Stop()
	select {
	case <-d.ended:
	case <-t.C:
	}
	d.listener.Close()
	return os.RemoveAll(d.dir)
}

// Times of a child.
const (
	firstPause = 200 * time.Millisecond // before one that has died is started again; twice as long each time that it dies soon
	mostPause  = 10 * time.Second
	clearing   = 35 * time.Second // how long one that is told to end may take
)

// supervise keeps a child running until ctx ends, and tells how the first start went. Its thread is the parent of the child, which dies with it, and is in the child's
// namespaces: nobody else may use it.
func (d *Driver) supervise(ctx context.Context, c child, began chan<- error) {
	runtime.LockOSThread() // and it is never unlocked, so the thread ends with this goroutine
	if unix.Gettid() == unix.Getpid() {
		// The first thread cannot end, and shows in /proc/self; while this goroutine holds it, another gets another.
		defer runtime.UnlockOSThread()
		other := make(chan struct{})
		go func() { defer close(other); d.supervise(ctx, c, began) }()
		<-other
		return
	}
	defer close(d.ended)
	files, err := c.files()
	if err == nil {
		defer files[0].Close()
		defer files[1].Close()
		err = enter(c.proc)
	}
	if err != nil {
		began <- fmt.Errorf("a driver outside of this container: %w", err)
		return
	}
	cmd := c.command(ctx, files)
	err = cmd.Start()
	began <- err
	if err != nil {
		return
	}
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		started := time.Now()
		if err == nil {
			err = cmd.Wait()
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > time.Minute {
			pause = firstPause
		}
		fmt.Fprintf(os.Stderr, "wharf: the process with the driver has ended (%v); starting it again\n", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		cmd = c.command(ctx, files)
		err = cmd.Start()
	}
}

// child is the process that has the driver.
type child struct {
	proc, url string
	listener  *net.UnixListener
}

// The child's files.
const (
	listenerFile = 3
	programFile  = 4
)

// files opens what the child gets, in the container, where they are.
func (c *child) files() ([]*os.File, error) {
	l, err := c.listener.File()
	if err != nil {
		return nil, err
	}
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return []*os.File{l, program}, nil
}

func (c *child) command(ctx context.Context, files []*os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", programFile), Command, c.url)
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // what a terminal sends is for the parent
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = clearing
	return cmd
}

// environment is what the child needs of this one's: it, and the plugins that it runs, are root of the machine. Other variables may be secrets, or name files in the container.
func environment() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} // the machine's
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"} {
		if value, there := os.LookupEnv(name); there {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Serve is the child process: it serves the driver until it gets SIGTERM.
func Serve(ctx context.Context, d driver.Driver) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	syscall.CloseOnExec(listenerFile)
	syscall.CloseOnExec(programFile)
	f := os.NewFile(listenerFile, "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("this command is for wharf itself: %w", err)
	}
	f.Close()
	return remote.Serve(ctx, l, d)
}
