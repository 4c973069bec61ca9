package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wharfci/wharf/provisioner/report"
)

// TestMain is wharf where Git asks it for a token, and a provisioner, or any command, for tests of how a process ends.
func TestMain(m *testing.M) {
	if os.Getenv(asWharf) != "" {
		os.Exit(Main(os.Args[1:]))
	}
	if os.Getenv(asProvisioner) != "" {
		os.Exit(beProvisioner())
	}
	if len(os.Args) > 1 && os.Args[1] == "git-credential" {
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// run runs a command in this process.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	capture := func(f **os.File) func() string {
		was := *f
		to, err := os.Create(filepath.Join(t.TempDir(), "output"))
		if err != nil {
			t.Fatal(err)
		}
		*f = to
		return func() string {
			*f = was
			to.Close()
			text, err := os.ReadFile(to.Name())
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	out, err := capture(&os.Stdout), capture(&os.Stderr)
	code = Main(args)
	return code, out(), err()
}

// hello serves a repository with the branch main to those who know the token.
func hello(t *testing.T, token string) (url, commit string) {
	t.Helper()
	root := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"--git-dir=" + root + "/hello.git", "-c", "user.name=A", "-c", "user.email=a@example.com"}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(args, err)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet", "--bare")
	commit = git("commit-tree", "-m", "hello", git("hash-object", "-t", "tree", "-w", os.DevNull))
	git("update-ref", "refs/heads/main", commit)
	backend := &cgi.Handler{Path: filepath.Join(git("--exec-path"), "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, got, ok := r.BasicAuth(); !ok || user != "me" || got != token {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, commit
}

// reports are the states, and what belongs to the last.
func reports(t *testing.T, stdout string) (states string, last report.Line) {
	t.Helper()
	for line := range strings.Lines(stdout) {
		l, ok := report.Parse([]byte(line))
		if !ok {
			t.Errorf("%q is no report", line)
		}
		states, last = states+" "+string(l.State), l
	}
	return states, last
}

func TestClone(t *testing.T) {
	const token = "s3cret"
	url, commit := hello(t, token)
	file := filepath.Join(t.TempDir(), "token")
	clone := func(token, branch string, more ...string) (int, string, string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"clone", "--branch", branch, "--user", "me", "--token-file", file, "--report", "--allow", url + "/*"}
		return run(t, append(append(args, more...), url+"/hello.git", filepath.Join(t.TempDir(), "src"))...)
	}
	code, stdout, stderr := clone(token, "main", "--depth", "all", "--commit", commit)
	states, last := reports(t, stdout)
	if code != exitOK || states != " cloning cloned" || last.Commit != commit || last.Branch != "main" {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the token stays")
	}
	if code, _, stderr := clone(token, "main", "--keep-token"); code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	code, stdout, stderr = clone("wr0ng", "main")
	states, last = reports(t, stdout)
	if code != exitTrouble || states != " cloning failed" || !strings.Contains(last.Reason, "does not accept the credential") || !strings.Contains(stderr, "wharf: cannot clone") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, "wr0ng") {
		t.Errorf("the token is shown: %s%s", stdout, stderr)
	}
	if code, stdout, stderr = clone(token, "mian"); code != exitTrouble || !strings.Contains(stdout, `There is \"main\".`) || !strings.Contains(stderr, `There is "main".`) {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}

// An interrupt ends the clone, and is told.
func TestCloneInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, conn)
	}()
	dir := filepath.Join(t.TempDir(), "src")
	code, stdout, stderr := run(t, "clone", "--report", "--allow", fmt.Sprintf("http://%s", l.Addr()), fmt.Sprintf("http://%s/a", l.Addr()), dir)
	states, last := reports(t, stdout)
	if code != exitCancelled || states != " cloning failed" || !strings.Contains(last.Reason, "cancelled") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory stays")
	}
}
