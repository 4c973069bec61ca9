package clone

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// TestMain makes the test program the credential helper of the clones that it tests.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "git-credential" {
		if err := Credential(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	for _, name := range inherited { // loopback alone
		if name != "PATH" && name != "TMPDIR" {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// brief are limits for servers that never answer.
var brief = limits{idle: time.Second, connect: time.Second, ask: 5 * time.Second, redraw: time.Hour, die: time.Second}

// git runs the real git for a test's set-up and returns what it prints.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C", "GIT_LFS_SKIP_SMUDGE=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// host is a directory of bare repositories that a server serves.
type host struct {
	t    testing.TB
	root string
}

func newHost(t testing.TB) *host { return &host{t, t.TempDir()} }

// repo makes a bare repository.
func (h *host) repo(name string, flags ...string) string {
	h.t.Helper()
	dir := filepath.Join(h.root, name)
	git(h.t, h.root, append(append([]string{"init", "--quiet", "--bare"}, flags...), dir)...)
	return dir
}

// commit adds a commit with files to a branch of a bare repository, and returns it.
func (h *host) commit(repo, branch string, files map[string]string) string {
	h.t.Helper()
	dir := filepath.Join(h.root, repo)
	tree := h.t.TempDir()
	env := []string{"--git-dir=" + dir, "--work-tree=" + tree}
	run := func(args ...string) string { return git(h.t, tree, append(env[:2:2], args...)...) }
	parents := []string{}
	if out, err := exec.Command("git", "--git-dir="+dir, "rev-parse", "--verify", "--quiet", "refs/heads/"+branch).Output(); err == nil {
		parents = []string{"-p", strings.TrimSpace(string(out))}
		run("read-tree", "refs/heads/"+branch)
		run("checkout-index", "--all")
	} else {
		run("read-tree", "--empty")
	}
	for name, content := range files {
		path := filepath.Join(tree, name)
		if commit, is := strings.CutPrefix(content, "gitlink:"); is {
			run("update-index", "--add", "--cacheinfo", "160000,"+commit+","+name)
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(content), 0o666)); err != nil {
			h.t.Fatal(err)
		}
		run("add", "--", name)
	}
	commit := run(append([]string{"commit-tree", "-m", "a commit", run("write-tree")}, parents...)...)
	run("update-ref", "refs/heads/"+branch, commit)
	return commit
}

// seen is what a server was asked.
type seen struct {
	mu       sync.Mutex
	requests []string
	auth     []string
}

func (s *seen) note(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.String())
	s.auth = append(s.auth, r.Header.Get("Authorization"))
}

func (s *seen) all() (requests, auth []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...), append([]string(nil), s.auth...)
}

// handler serves the repositories by smart HTTP; config are settings of Git on the server.
func (h *host) handler(config ...string) http.Handler {
	path := git(h.t, h.root, "--exec-path")
	env := []string{"GIT_PROJECT_ROOT=" + h.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	config = append(config, "safe.directory=*", "uploadpack.allowFilter=true")
	env = append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)))
	for i, c := range config {
		key, value, _ := strings.Cut(c, "=")
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, key), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, value))
	}
	return &cgi.Handler{Path: filepath.Join(path, "git-http-backend"), Env: env, Stderr: &strings.Builder{}}
}

// basic asks for a user and a token.
func basic(user, token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, ok := r.BasicAuth()
		switch {
		case !ok || p != token || u != user:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who is there?", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// serve serves by HTTP on loopback, and notes the requests.
func serve(t testing.TB, handler http.Handler) (url string, s *seen) {
	s = &seen{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(r)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, s
}

// log is a Progress that a test reads.
type log struct {
	mu sync.Mutex
	strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

// try clones into a new directory, or that of the options, and returns what was printed.
func try(t testing.TB, o Options) (Result, string, error) {
	t.Helper()
	var out log
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "clone")
	}
	if o.Progress == nil {
		o.Progress = &out
	}
	if o.Policy.Allow == nil {
		o.Policy.HTTP = true
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.Helper == nil {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		o.Helper = []string{"env", "GORACE=atexit_sleep_ms=0", self, "git-credential"} // with the race detector it would sleep for a second
	}
	r, err := Clone(context.Background(), o)
	return r, out.String(), err
}

// must clones, and returns the result and where it is.
func must(t testing.TB, o Options) (Result, string) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "clone")
	}
	r, out, err := try(t, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if head := git(t, o.Dir, "rev-parse", "HEAD"); head != r.Commit {
		t.Errorf("HEAD is %s, and the result says %s", head, r.Commit)
	}
	if ref := git(t, o.Dir, "symbolic-ref", "HEAD"); ref != "refs/heads/"+r.Branch {
		t.Errorf("HEAD is on %s, and the result says %s", ref, r.Branch)
	}
	if status := git(t, o.Dir, "status", "--porcelain", "--untracked-files=all"); status != "" && !o.Submodules && !o.LFS {
		t.Errorf("the directory is not as the commit: %s", status)
	}
	return r, o.Dir
}

// fails clones, wants a reason and words in the error, and sees that nothing stays.
func fails(t testing.TB, o Options, want Reason, words ...string) (text, printed string) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "clone")
	}
	_, out, err := try(t, o)
	if err == nil {
		t.Fatalf("it succeeds, where %q is to be expected\n%s", want, out)
	}
	if !errors.Is(err, want) {
		t.Errorf("the reason is %q, want %q: %v\n%s", reason(err), want, err, out)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	if _, err := os.Lstat(o.Dir); err == nil && want != NotEmpty {
		t.Error("the directory stays")
	}
	return err.Error(), out
}

// write writes a file of a test and returns its path.
func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, elem ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

func exists(elem ...string) bool {
	_, err := os.Lstat(filepath.Join(elem...))
	return err == nil
}

var httpAllowed = giturl.Policy{HTTP: true}
