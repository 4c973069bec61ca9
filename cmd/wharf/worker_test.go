package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// aWorker is a "wharf worker" that runs.
type aWorker struct {
	cmd     *exec.Cmd
	log     *bufio.Reader
	results string
	address string
	token   string
}

// startWorker starts a worker on a definition and waits until it serves. The command may be changed before.
func startWorker(t *testing.T, build, results string, change func(*exec.Cmd), flags ...string) *aWorker {
	t.Helper()
	w := &aWorker{results: results}
	w.cmd = wharf(t, append([]string{"worker", build, "--results", w.results, "--grace", "1s"}, flags...)...)
	w.cmd.Env = append(w.cmd.Env, "XDG_STATE_HOME="+filepath.Join(w.results, ".state")) // for those who look at what is left
	if change != nil {
		change(w.cmd)
	}
	stderr, err := w.cmd.StderrPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill(); _ = w.cmd.Wait() })
	w.log = bufio.NewReader(stderr)
	until(t, w.log, `"@message":"serving"`)
	text, err := os.ReadFile(filepath.Join(w.results, "worker.json"))
	var e struct{ Listens, Token string }
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.address, w.token = e.Listens, e.Token
	return w
}

func (w *aWorker) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Dial(w.address, client.Options{Token: w.token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A worker serves its build, ends when it is told that everything was taken, and with the build's exit code.
func TestWorker(t *testing.T) {
	t.Parallel()
	w := startWorker(t, definition(t, "echo one\necho two >&2\nexit 3"), t.TempDir(), nil)
	c := w.client(t)
	claim, err := c.Claim(t.Context(), client.ClaimOptions{Holder: "a test", Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	var lines []string
	for e, err := range c.Events(t.Context(), client.ReadOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if last = e.Seq; e.Kind == journal.KindLog {
			lines = append(lines, e.Stream+" "+string(e.Line))
		}
	}
	if len(lines) != 2 {
		t.Errorf("lines %q", lines)
	}
	if err := claim.Release(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	until(t, w.log, `"@message":"everything was taken"`)
	if code := exitCode(t, w.cmd.Wait()); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if _, err := os.Stat(filepath.Join(w.results, "worker.json")); err == nil {
		t.Error("worker.json is still there")
	}
	nothingLeft(t, w.cmd)
}

// A worker needs its runtime, and reaches nothing else: here it is the socket of a daemon, and there is no network.
func TestWorkerAlone(t *testing.T) {
	t.Parallel()
	w := startWorker(t, definition(t, "echo it runs"), t.TempDir(), func(cmd *exec.Cmd) {
		if os.Geteuid() != 0 {
			cmd.Args = append([]string{"sudo", "-n", "-E"}, cmd.Args...)
		}
		cmd.Args = append([]string{"unshare", "--net", "sh", "-c", `ip link set lo up && test -z "$(ip route)" && exec "$@"`, "sh"}, cmd.Args...)
		var err error
		if cmd.Path, err = exec.LookPath(cmd.Args[0]); err != nil {
			t.Fatal(err)
		}
	}, "--linger", "0s")
	until(t, w.log, `"state":"succeeded"`)
	if code := exitCode(t, w.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	nothingLeft(t, w.cmd)
}

// A worker whose build has ended holds no connection to its runtime: many may wait until somebody takes their results, and each would hear of all that happens there.
func TestWorkerAtRest(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	w := startWorker(t, definition(t, "echo it runs"), t.TempDir(), nil, "--driver", "docker://"+p.socket)
	until(t, w.log, `"state":"succeeded"`)
	closed := make(chan struct{})
	go func() {
		p.open.Wait()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(hangs):
		t.Error("it has connections to the daemon still")
	}
	for _, err := range w.client(t).Events(t.Context(), client.ReadOptions{}) {
		if err != nil {
			t.Errorf("reading what the worker serves: %v", err)
		}
	}
	_ = w.cmd.Process.Signal(os.Interrupt)
	if code := exitCode(t, w.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	nothingLeft(t, w.cmd)
}

// A worker that is killed and started again goes on; a wrong use of its results is told.
func TestWorkerGoesOn(t *testing.T) {
	t.Parallel()
	results := t.TempDir()
	build := definition(t, "echo one\nwhile ! test -e go; do sleep 0.1; done\necho two")
	w := startWorker(t, build, results, nil)
	c := w.client(t)
	for e, err := range c.Events(t.Context(), client.ReadOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == journal.KindLog {
			break
		}
	}
	second := wharf(t, "worker", build, "--results", results)
	if out, err := second.CombinedOutput(); exitCode(t, err) != 2 || !strings.Contains(string(out), "a build is running in it") {
		t.Errorf("a second worker on the same results: %v\n%s", err, out)
	}
	_ = w.cmd.Process.Signal(syscall.SIGKILL)
	_ = w.cmd.Wait()
	other := wharf(t, "worker", definition(t, "echo other"), "--results", results)
	if out, err := other.CombinedOutput(); exitCode(t, err) != 2 || !strings.Contains(string(out), "the plan has changed since the build began") {
		t.Errorf("another plan on the same results: %v\n%s", err, out)
	}
	token, address := w.token, w.address
	w = startWorker(t, build, results, nil)
	if w.token != token || w.address != address {
		t.Errorf("the worker was reached at %s, and is now at %s; the token is the same: %v", address, w.address, w.token == token)
	}
	c = w.client(t)
	if err := c.Cancel(t.Context(), "enough", false); err != nil {
		t.Fatal(err)
	}
	var lines []string
	var end worker.Event
	for e, err := range c.Events(t.Context(), client.ReadOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == journal.KindLog {
			lines = append(lines, string(e.Line))
		}
		end = e
	}
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "Terminated" }) // which the shell says of what it was running
	if len(lines) != 1 || end.State != worker.Cancelled || end.Reason != "enough" {
		t.Errorf("lines %q, and the end is %+v", lines, end)
	}
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	if code := exitCode(t, w.cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	nothingLeft(t, w.cmd)
}

func TestWorkerTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte("secret-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := startWorker(t, definition(t, "echo hello"), t.TempDir(), nil, "--tls-cert", cert, "--tls-key", key, "--token-file", tokenFile)
	out, err := exec.Command("wharf", "logs", "--follow", "--ca", cert, "--token-file", tokenFile, w.address).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "build/step | hello\n") {
		t.Errorf("wharf logs: %v\n%s", err, out)
	}
	_, err = w.client(t).Build(t.Context(), false)
	if status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: %v", err)
	}
	out, err = exec.Command("wharf", "release", "--ca", cert, "--token-file", tokenFile, w.address).CombinedOutput()
	if err != nil {
		t.Errorf("wharf release: %v\n%s", err, out)
		_ = w.cmd.Process.Signal(syscall.SIGTERM)
	}
	until(t, w.log, `"@message":"everything was taken"`)
	if code := exitCode(t, w.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Lines beyond a limit are not kept, and the log says so; long lines and many of them are no trouble.
func TestWorkerLimits(t *testing.T) {
	t.Parallel()
	w := startWorker(t, definition(t, "head -c 20000000 /dev/zero | tr '\\0' x\necho\nyes 'a line of text' | head -n 300000\necho the last line"), t.TempDir(), nil,
		"--step-log-limit", "1MiB", "--linger", "0s")
	until(t, w.log, `"state":"succeeded"`)
	if code := exitCode(t, w.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	var said, warned string
	size := 0
	for e, err := range journal.Read(w.results) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Kind == journal.KindLog && e.Stream == journal.StreamWharf:
			said = string(e.Line)
		case e.Kind == journal.KindLog:
			size += len(e.Line)
		case e.Kind == journal.KindWarning:
			warned = e.Reason
		}
	}
	if !strings.Contains(said, "the limit of this step's log, 1048576 bytes, is reached") || !strings.Contains(warned, "were not kept") || size > 1<<20 {
		t.Errorf("%d bytes are kept; the log says %q; the warning is %q", size, said, warned)
	}
	nothingLeft(t, w.cmd)
}

func TestServe(t *testing.T) {
	t.Parallel()
	results := filepath.Join(t.TempDir(), "results")
	cmd := wharf(t, "run", "--serve", "--output", "plain", "--results", results, definition(t, "echo ready\nwhile :; do sleep 0.1; done"))
	r, _ := launch(t, cmd)
	until(t, r, "| ready")
	text, err := os.ReadFile(filepath.Join(results, "worker.json"))
	var e struct{ Listens, Token string }
	if err != nil || json.Unmarshal(text, &e) != nil {
		t.Fatal(err, string(text))
	}
	c, err := client.Dial(e.Listens, client.Options{Token: e.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := c.Build(t.Context(), false); err != nil || b.State != worker.Running {
		t.Errorf("the build: %+v, %v", b, err)
	}
	out, err := exec.Command("wharf", "cancel", "--reason", "not needed", results).CombinedOutput()
	if err != nil {
		t.Errorf("wharf cancel: %v\n%s", err, out)
	}
	until(t, r, "cancelled")
	if code := exitCode(t, cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	nothingLeft(t, cmd)
}
