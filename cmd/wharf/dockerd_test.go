package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"
)

// daemon is a Docker daemon of a test's own, to be stopped and started at will. It runs in namespaces of its own, see tools/withdocker.
type daemon struct {
	t       *testing.T
	dir     string
	control *bufio.ReadWriter
}

// The daemon's program is the test binary itself under the name dockerd: it starts the real one, and stops and starts it
// as it is told through a socket.
const (
	dockerdName   = "dockerd"
	controlSocket = "control.sock"
	apiSocket     = "api.sock"
)

// newDaemon starts a daemon that has the image of the tests.
func newDaemon(t *testing.T) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "wharf-dockerd-") // a short path: those of sockets are bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{t: t, dir: dir}
	self, err := os.Executable()
	if err == nil {
		err = os.Link(self, filepath.Join(dir, dockerdName))
	}
	if errors.Is(err, syscall.EXDEV) {
		err = copyFile(self, filepath.Join(dir, dockerdName))
	}
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", dir, "github.com/wharfci/wharf/tools/withdocker")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d.start()
	d.load("localhost/wharf/busybox:1")
	return d
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// start starts withdocker, and with it the daemon. They end when the standard input of "cat" does.
func (d *daemon) start() {
	d.t.Helper()
	l, err := net.Listen("unix", filepath.Join(d.dir, controlSocket))
	if err != nil {
		d.t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(filepath.Join(d.dir, "withdocker"), "-private", "-bin", d.dir, "cat")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	hold, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		l.Close()
	}()
	d.t.Cleanup(func() {
		hold.Close()
		if err := <-ended; err != nil || d.t.Failed() {
			d.t.Logf("withdocker: %v\n%s", err, &said)
		}
	})
	conn, err := l.Accept()
	if err != nil {
		d.t.Fatalf("the daemon's supervisor did not report: %v\n%s", err, &said)
	}
	d.t.Cleanup(func() { conn.Close() })
	d.control = bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	d.answer()
}

// tell has the supervisor do something: "start", "stop" or "kill". It returns when that is done.
func (d *daemon) tell(what string) {
	d.t.Helper()
	fmt.Fprintln(d.control, what)
	if err := d.control.Flush(); err != nil {
		d.t.Fatal(err)
	}
	d.answer()
}

func (d *daemon) answer() {
	d.t.Helper()
	line, err := d.control.ReadString('\n')
	if err != nil || line != "done\n" {
		d.t.Fatalf("the daemon's supervisor says %q, %v", line, err)
	}
}

// url is what --driver takes.
func (d *daemon) url() string { return "docker://" + filepath.Join(d.dir, apiSocket) }

// client returns a client of the daemon.
func (d *daemon) client() *client.Client {
	d.t.Helper()
	c, err := client.New(client.WithHost("unix://" + filepath.Join(d.dir, apiSocket)))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

// load copies an image from the daemon that is there for all tests.
func (d *daemon) load(image string) {
	d.t.Helper()
	from, err := client.New(client.FromEnv)
	if err != nil {
		d.t.Fatal(err)
	}
	defer from.Close()
	archive, err := from.ImageSave(context.Background(), []string{image})
	if err != nil {
		d.t.Fatal(err)
	}
	defer archive.Close()
	progress, err := d.client().ImageLoad(context.Background(), archive)
	if err != nil {
		d.t.Fatal(err)
	}
	defer progress.Close()
	if _, err := io.Copy(io.Discard, progress); err != nil {
		d.t.Fatal(err)
	}
}

// superviseDockerd is what the test binary does under the name dockerd. Its directory holds the sockets.
func superviseDockerd() error {
	dir := filepath.Dir(os.Args[0])
	conn, err := net.Dial("unix", filepath.Join(dir, controlSocket))
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &supervisor{dir: dir}
	if err := s.do("start"); err != nil {
		return err
	}
	announce()
	fmt.Fprintln(conn, "done")
	for orders := bufio.NewScanner(conn); orders.Scan(); fmt.Fprintln(conn, "done") {
		if err := s.do(orders.Text()); err != nil {
			return err
		}
	}
	return s.do("stop")
}

// announce tells who started us that the daemon is ready.
func announce() {
	if conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET")); err == nil {
		defer conn.Close()
		conn.Write([]byte("READY=1"))
	}
}

type supervisor struct {
	dir string
	cmd *exec.Cmd
}

func (s *supervisor) do(what string) error {
	switch {
	case what == "start":
		return s.start()
	case s.cmd == nil:
		return nil
	case what == "stop":
		s.cmd.Process.Signal(syscall.SIGTERM)
	case what == "kill":
		s.cmd.Process.Kill()
	default:
		return fmt.Errorf("unknown order %q", what)
	}
	s.cmd.Wait()
	s.cmd = nil
	return nil
}

// start starts the real daemon, and returns when it is ready.
func (s *supervisor) start() error {
	os.Remove("/run/docker.pid") // a killed daemon leaves it
	notify := filepath.Join(s.dir, "notify.sock")
	os.Remove(notify)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	real, err := findReal(s.dir)
	if err != nil {
		return err
	}
	s.cmd = exec.Command(real, append(slices.Clone(os.Args[1:]), "--host=unix://"+filepath.Join(s.dir, apiSocket))...)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	s.cmd.Stdout, s.cmd.Stderr = os.Stdout, os.Stderr
	s.cmd.SysProcAttr = diesWithParent
	if err := s.cmd.Start(); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil || strings.Contains(string(buf[:n]), "READY=1") {
			return err
		}
	}
}

// findReal returns the dockerd that is not ours.
func findReal(ours string) (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, dockerdName)); err == nil && dir != ours {
			return path, nil
		}
	}
	return "", errors.New("no dockerd in PATH")
}
