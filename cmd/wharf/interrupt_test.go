package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
)

// definition writes a definition of one step to a new directory.
func definition(t *testing.T, cmds string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	text := "build:\n  step:\n    container:\n      image: localhost/wharf/busybox:1\n      cmds:\n      - |\n        " + strings.ReplaceAll(cmds, "\n", "\n        ") + "\n"
	if err := os.WriteFile(filepath.Join(dir, ".wharf-ci.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wharf returns the command, with a state directory of its own.
func wharf(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("wharf", args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir(), "TERM=xterm-256color", "LC_ALL=C.UTF-8", "CI=", "NO_COLOR=", "WHARF_DRIVER=")
	cmd.WaitDelay = time.Minute
	return cmd
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var e *exec.ExitError
	if err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e != nil {
		return e.ExitCode()
	}
	return 0
}

// nothingLeft fails if a build with the command's state directory has left something on the runtime.
func nothingLeft(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	gc := exec.Command("wharf", "gc", "--dry-run")
	gc.Env = cmd.Env
	out, err := gc.CombinedOutput()
	if err != nil || string(out) != "nothing to remove\n" {
		t.Errorf("after the build, wharf gc --dry-run says %q, %v", out, err)
	}
}

// launch starts a command and returns its standard output, and what it says on standard error.
func launch(t *testing.T, cmd *exec.Cmd) (*bufio.Reader, *strings.Builder) {
	t.Helper()
	stderr := new(strings.Builder) // to be read after Wait
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(out), stderr
}

// until reads lines until one holds the words.
func until(t *testing.T, r *bufio.Reader, words string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if strings.Contains(line, words) {
			return
		}
		if err != nil {
			t.Fatalf("no line holds %q: %v", words, err)
		}
	}
}

func TestInterruptIsGraceful(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		cmd := wharf(t, "run", "--output", "plain", definition(t, "trap 'echo goodbye; exit 0' TERM\necho ready\nwhile :; do sleep 0.1; done"))
		r, stderr := launch(t, cmd)
		until(t, r, "| ready")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		until(t, r, "| goodbye")
		io.Copy(io.Discard, r)
		if code := exitCode(t, cmd.Wait()); code != 130 {
			t.Errorf("%v: exit code %d, want 130", sig, code)
		}
		if !strings.Contains(stderr.String(), "Interrupt again to end it by force") {
			t.Errorf("%v: standard error does not say how to end it by force:\n%s", sig, stderr)
		}
		nothingLeft(t, cmd)
	}
}

// TestInterruptAtAnyMoment interrupts a build after each line that it prints; without WHARF_SOAK after some of them.
func TestInterruptAtAnyMoment(t *testing.T) {
	every := 10
	if os.Getenv("WHARF_SOAK") != "" {
		every = 1
	}
	for after, ended := 1, false; !ended; after += every {
		cmd := wharf(t, "run", "--output", "plain", "--parallel", "3", "--grace", "1s", "testdata/stages")
		r, _ := launch(t, cmd)
		for range after {
			_, err := r.ReadString('\n')
			ended = err != nil
		}
		cmd.Process.Signal(os.Interrupt)
		io.Copy(io.Discard, r)
		code := exitCode(t, cmd.Wait())
		if code != 130 && code != 0 || code != 0 && ended {
			t.Errorf("interrupted after %d lines: exit code %d", after, code)
		}
		nothingLeft(t, cmd)
	}
}

func TestInterruptBeforeTheBuild(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket) // a daemon that takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := wharf(t, "run", "--driver", "docker://"+socket, definition(t, "echo never"))
	_, stderr := launch(t, cmd)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cmd.Process.Signal(os.Interrupt)
	if code := exitCode(t, cmd.Wait()); code != 130 || !strings.Contains(stderr.String(), "cancelled before the build began") {
		t.Errorf("exit code %d, want 130:\n%s", code, stderr)
	}
}

func TestSecondInterruptForces(t *testing.T) {
	cmd := wharf(t, "run", "--output", "plain", "--grace", "10m", definition(t, "trap 'echo stubborn' TERM\necho ready\nwhile :; do sleep 0.1; done"))
	r, _ := launch(t, cmd)
	until(t, r, "| ready")
	cmd.Process.Signal(syscall.SIGINT)
	until(t, r, "| stubborn")
	cmd.Process.Signal(syscall.SIGINT)
	io.Copy(io.Discard, r)
	if code := exitCode(t, cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	nothingLeft(t, cmd)
}

func TestClosedOutputEndsTheBuild(t *testing.T) {
	cmd := wharf(t, "run", "--output", "plain", definition(t, "while :; do echo line; sleep 0.1; done"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, bufio.NewReader(out), "| line")
	out.Close()
	if code := exitCode(t, cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	nothingLeft(t, cmd)
}

func TestKilledBuildIsCollected(t *testing.T) {
	cmd := wharf(t, "run", "--output", "plain", definition(t, "echo ready\nsleep 1000"))
	r, _ := launch(t, cmd)
	until(t, r, "| ready")
	cmd.Process.Kill()
	cmd.Wait()
	next := exec.Command("wharf", "run", "--output", "plain", definition(t, "echo fine"))
	next.Env = cmd.Env
	said, err := next.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "that dead builds had left") {
		t.Errorf("the next build says %v:\n%s", err, said)
	}
	nothingLeft(t, cmd)
}

// screen runs a build on a terminal and keeps what stands on it.
type screen struct {
	cmd *exec.Cmd
	pty *os.File
	vt  vt10x.Terminal
	raw strings.Builder
}

func start(t *testing.T, width, height int, cmd *exec.Cmd) *screen {
	t.Helper()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &screen{cmd: cmd, pty: f, vt: vt10x.New(vt10x.WithSize(width, height))}
}

// read shows what arrives until the screen fulfils a condition, or at the end of the output.
func (s *screen) read(done func(string) bool) (ended bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := s.pty.Read(buf)
		s.vt.Write(buf[:n])
		s.raw.Write(buf[:n])
		if err != nil {
			return true
		}
		if done != nil && done(s.vt.String()) {
			return false
		}
	}
}

func (s *screen) until(t *testing.T, words string) {
	t.Helper()
	if s.read(func(text string) bool { return strings.Contains(text, words) }) {
		t.Fatalf("the screen never showed %q; at the end it shows:\n%s", words, s.vt)
	}
}

func TestTerminal(t *testing.T) {
	s := start(t, 80, 24, wharf(t, "run", definition(t, "for i in 1 2 3; do echo line $i; done; read x < /dev/zero & sleep 1; echo the end; exit 3")))
	s.until(t, "line 3")
	if s.vt.CursorVisible() {
		t.Error("the cursor shows while the tree does")
	}
	s.vt.Resize(50, 10)
	pty.Setsize(s.pty, &pty.Winsize{Cols: 50, Rows: 10})
	s.until(t, "0 of 1 step")
	s.read(nil)
	if code := exitCode(t, s.cmd.Wait()); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	text := s.vt.String()
	flat := strings.NewReplacer("\n", "", "  ", "").Replace(text) // long lines wrap
	for _, want := range []string{"the end", "build failed after", "exited with code 3", "logs and artifacts are in"} {
		if !strings.Contains(flat, want) {
			t.Errorf("at the end the screen does not show %q:\n%s", want, text)
		}
	}
	if !s.vt.CursorVisible() || strings.Count(text, "✗ build  1 step") > 1 {
		t.Errorf("at the end the cursor is hidden, or the tree stands there twice:\n%s", text)
	}
	nothingLeft(t, s.cmd)
}

func TestTerminalInterrupt(t *testing.T) {
	s := start(t, 100, 20, wharf(t, "run", definition(t, "trap 'echo goodbye; sleep 1; exit 0' TERM\necho ready\nwhile :; do sleep 0.1; done")))
	s.until(t, "│ ready")
	if _, err := s.pty.Write([]byte{3}); err != nil { // what Ctrl-C sends
		t.Fatal(err)
	}
	s.until(t, "Interrupt again to end it by force")
	s.read(nil)
	if code := exitCode(t, s.cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130:\n%s", code, s.vt)
	}
	if !s.vt.CursorVisible() || !strings.Contains(s.vt.String(), "build cancelled") {
		t.Errorf("at the end the screen shows:\n%s", s.vt)
	}
	nothingLeft(t, s.cmd)
}

func TestTerminalThatIsNone(t *testing.T) {
	for _, env := range []string{"TERM=dumb", "CI=true"} {
		cmd := wharf(t, "run", definition(t, "echo hello"))
		cmd.Env = append(cmd.Env, env)
		s := start(t, 80, 24, cmd)
		s.read(nil)
		if code := exitCode(t, cmd.Wait()); code != 0 || !strings.Contains(s.raw.String(), "build/step | hello") || strings.Contains(s.raw.String(), "\x1b[?25l") {
			t.Errorf("with %s: exit code %d:\n%q", env, code, s.raw.String())
		}
	}
}
