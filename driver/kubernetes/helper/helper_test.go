//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// pod is what a kubelet would make of a pod: each container a root directory and a process namespace of its own, with a directory that they share. The
// test needs root.
type pod struct {
	t      *testing.T
	dir    string
	helper string
	keeper *exec.Cmd
}

func newPod(t *testing.T, boxes ...wire.Box) *pod {
	p := &pod{t: t, dir: t.TempDir()}
	p.helper = filepath.Join(p.dir, "helper")
	build := exec.Command("go", "build", "-o", p.helper, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	must(t, os.MkdirAll(p.path("shared"), 0o777))
	plan, err := json.Marshal(wire.Plan{Boxes: boxes})
	must(t, err)
	root := p.container("keeper")
	must(t, os.Mkdir(filepath.Join(root, wire.Private), 0o777))
	p.keeper = p.start(root, []string{wire.PlanVariable + "=" + string(plan)}, "/helper", "keep")
	hook := p.start(root, nil, "/helper", "await")
	must(t, hook.Wait())
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *pod) path(name string) string { return filepath.Join(p.dir, name) }

// container makes a root with the shared directory, /proc and busybox.
func (p *pod) container(name string) string {
	root := p.path(name)
	for _, d := range []string{wire.Shared, "/proc", "/dev", "/bin", "/tmp", "/etc"} {
		must(p.t, os.MkdirAll(filepath.Join(root, d), 0o777))
	}
	mount := func(src, dst, kind string, flags uintptr) {
		target := filepath.Join(root, dst)
		must(p.t, unix.Mount(src, target, kind, flags, ""))
		p.t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	}
	mount(p.path("shared"), wire.Shared, "", unix.MS_BIND)
	mount("proc", "/proc", "proc", 0)
	mount("/dev", "/dev", "", unix.MS_BIND)
	for src, dst := range map[string]string{p.helper: "/helper", "/bin/busybox": "/bin/sh"} {
		b, err := os.ReadFile(src)
		must(p.t, err)
		syscall.ForkLock.RLock() // what another test starts would have the file open for a moment, and a program that somebody may write to cannot be run
		err = os.WriteFile(filepath.Join(root, dst), b, 0o755)
		syscall.ForkLock.RUnlock()
		must(p.t, err)
	}
	must(p.t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/:/bin/sh\nguest:x:2000:3000::/tmp:/bin/sh\n"), 0o644))
	return root
}

func (p *pod) start(root string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = "/", append([]string{"PATH=/bin"}, env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: unix.CLONE_NEWPID}
	must(p.t, cmd.Start())
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	return cmd
}

// run starts process 1 of a container.
func (p *pod) run(name string, args ...string) *exec.Cmd {
	return p.start(p.container(name), nil, append([]string{wire.Program, "run", name}, args...)...)
}

// call opens a call to the keeper, by its socket.
func (p *pod) call(r wire.Request) (*wire.Conn, net.Conn) {
	c, err := net.Dial("unix", filepath.Join(p.path("keeper"), callSocket))
	must(p.t, err)
	p.t.Cleanup(func() { c.Close() })
	w := wire.New(c, c)
	r.Version = wire.Version
	must(p.t, w.WriteJSON(wire.FrameRequest, r))
	return w, c
}

// ask makes a call and returns its answer, and what came before.
func (p *pod) ask(r wire.Request) (wire.Answer, []byte) {
	w, _ := p.call(r)
	return p.answer(w)
}

func (p *pod) answer(w *wire.Conn) (a wire.Answer, data []byte) {
	for {
		kind, payload, err := w.Read()
		must(p.t, err)
		if kind == wire.FrameAnswer {
			must(p.t, json.Unmarshal(payload, &a))
			return a, data
		}
		data = append(data, payload...)
	}
}

// lines reads the log to its end.
func (p *pod) lines(follow bool) []string {
	a, b := p.ask(wire.Request{Op: wire.OpLogs, Follow: follow})
	if a.Error != "" {
		p.t.Fatal(a.Error)
	}
	var lines []string
	for len(b) > 0 {
		r, n, err := wire.ParseRecord(b)
		must(p.t, err)
		lines = append(lines, string(r.Line))
		b = b[n:]
	}
	return lines
}

var mainBox = wire.Box{Name: "main", Kind: wire.Main}

func (p *pod) want(outcome string, code int) {
	p.t.Helper()
	a, _ := p.ask(wire.Request{Op: wire.OpWait})
	if a.Result == nil || a.Result.Outcome != outcome || a.Result.Code != code {
		p.t.Errorf("the result is %+v; want %s with code %d", a.Result, outcome, code)
	}
}

func TestTask(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	p.run("main", "--", "sh", "-c", "echo out; echo err >&2; sleep 1000 & printf last; exit 3")
	p.ask(wire.Request{Op: wire.OpStart})
	p.want("exited", 3)
	got := p.lines(true)
	slices.Sort(got)
	if !slices.Equal(got, []string{"err", "last", "out"}) {
		t.Errorf("the log is %q", got)
	}
	// Files after the end.
	w, _ := p.call(wire.Request{Op: wire.OpCopyOut, Path: "/etc/passwd"})
	a, data := p.answer(w)
	if h, err := tar.NewReader(bytes.NewReader(data)).Next(); err != nil || h.Name != "passwd" || a.Error != "" {
		t.Errorf("copy out: %+v, %v, %+v", h, err, a)
	}
	if a, _ := p.ask(wire.Request{Op: wire.OpCopyOut, Path: "/nothing"}); a.Class != wire.NotFound {
		t.Errorf("copy out of what is not there: %+v", a)
	}
	if a, _ := p.ask(wire.Request{Op: wire.OpExec, Args: []string{"sh"}}); a.Class != wire.Precondition {
		t.Errorf("exec after the end: %+v", a)
	}
}

func TestPrefixAndUser(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	p.run("main", "-user", "guest", "-dir", "/made/here", "--", "pwd; id -u; id -g; echo $HOME")
	p.ask(wire.Request{Op: wire.OpStart, Prefix: map[string][]string{"main": {"sh", "-c"}}})
	p.want("exited", 0)
	if got := p.lines(true); !slices.Equal(got, []string{"/made/here", "2000", "3000", "/tmp"}) {
		t.Errorf("the log is %q", got)
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	p.run("main", "--", "no-such-command")
	p.ask(wire.Request{Op: wire.OpStart})
	a, _ := p.ask(wire.Request{Op: wire.OpWait})
	if a.Result.Outcome != "start failed" || !strings.Contains(a.Result.Reason, "no-such-command") {
		t.Errorf("the result is %+v", a.Result)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	p := newPod(t, wire.Box{Name: "first", Kind: wire.Init}, wire.Box{Name: "db", Kind: wire.Service, Ready: wire.Ready{Exec: []string{"sh", "-c", "test -e /tmp/up"}, Timeout: time.Minute}}, mainBox)
	p.run("main", "--", "sh", "-c", "echo main")
	p.run("db", "--", "sh", "-c", "trap 'echo ended; exit' TERM; sleep 0.3; echo up; touch /tmp/up; sleep 1000 & wait")
	p.run("first", "--", "sh", "-c", "echo first")
	p.ask(wire.Request{Op: wire.OpStart})
	p.want("exited", 0)
	if got := p.lines(true); !slices.Equal(got, []string{"first", "up", "main", "ended"}) {
		t.Errorf("the log is %q", got)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	p.run("main", "--", "sh", "-c", "trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
	p.ask(wire.Request{Op: wire.OpStart})
	w, c := p.call(wire.Request{Op: wire.OpLogs, Follow: true})
	if _, _, err := w.Read(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	p.ask(wire.Request{Op: wire.OpStop, Grace: time.Minute})
	p.want("exited", 5)
	if got := p.lines(false); !slices.Equal(got, []string{"ready", "term"}) {
		t.Errorf("the log is %q", got)
	}
}

func TestStopBeforeStart(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	p.run("main", "--", "sh")
	p.ask(wire.Request{Op: wire.OpStop})
	p.want("stopped", 0)
}

func TestExec(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	p.run("main", "--", "sh", "-c", "sleep 1000")
	p.ask(wire.Request{Op: wire.OpStart})
	w, _ := p.call(wire.Request{Op: wire.OpExec, Args: []string{"sh", "-c", "cat; echo $A; exit 4"}, Env: []string{"A=b"}, Stdin: true})
	must(t, w.Write(wire.FrameData, []byte("in\n")))
	must(t, w.Write(wire.FrameEnd, nil))
	a, data := p.answer(w)
	if a.Result == nil || a.Result.Code != 4 || string(data) != "in\nb\n" {
		t.Errorf("exec: %+v, %q", a.Result, data)
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	cmd := p.run("main", "--", "sh", "-c", "echo ready; sleep 1000")
	p.ask(wire.Request{Op: wire.OpStart})
	must(t, cmd.Process.Kill())
	p.want("unknown", 0)
	if got := p.lines(true); len(got) > 1 {
		t.Errorf("the log is %q", got)
	}
}

func TestKeeperEnds(t *testing.T) {
	t.Parallel()
	p := newPod(t, mainBox)
	cmd := p.run("main", "--", "sh")
	p.ask(wire.Request{Op: wire.OpState})
	must(t, p.keeper.Process.Signal(unix.SIGTERM))
	_, err := io.Copy(io.Discard, strings.NewReader(""))
	must(t, err)
	_ = p.keeper.Wait()
	_ = cmd.Wait() // the containers end with the keeper
}
