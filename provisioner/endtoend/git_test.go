package endtoend

import (
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gitHandler serves the repositories by HTTP.
func (s *system) gitHandler() http.Handler {
	s.t.Helper()
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.repos, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard,
	}
}

// guarded asks for the token.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != gitToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve serves by HTTP where containers reach it.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	l := listen(t)
	server := &http.Server{Handler: h}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String()
}

// git runs Git, and returns what it prints.
func git(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_LFS_SKIP_SMUDGE=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// definitionFile is where a repository says how it is built.
const definitionFile = ".wharf-ci.yml"

// repository makes one with a definition on its branch, and returns the commit; an empty definition is none.
func (s *system) repository(name, branch, definition string) string {
	s.t.Helper()
	if definition == "" {
		return s.commit(name, branch, map[string]string{"README": ""})
	}
	return s.commit(name, branch, map[string]string{definitionFile: definition})
}

// gitlink, before a commit, is the content of a submodule.
const gitlink = "gitlink:"

// commit adds files to a branch of a repository, both of which are made if they are not there, and returns the commit.
func (s *system) commit(name, branch string, files map[string]string) string {
	s.t.Helper()
	bare, tree := filepath.Join(s.repos, name+".git"), s.t.TempDir()
	if _, err := os.Stat(bare); err != nil {
		git(s.t, "init", "-q", "--bare", "-b", branch, bare)
	}
	in := func(args ...string) string {
		return git(s.t, append([]string{"--git-dir=" + bare, "--work-tree=" + tree, "-C", tree}, args...)...)
	}
	var parent []string
	if there := in("for-each-ref", "--format=%(objectname)", "refs/heads/"+branch); there != "" {
		parent = []string{"-p", there}
		in("read-tree", there)
	} else {
		in("read-tree", "--empty")
	}
	for file, content := range files {
		if commit, is := strings.CutPrefix(content, gitlink); is {
			in("update-index", "--add", "--cacheinfo", "160000,"+commit+","+file)
			continue
		}
		path := filepath.Join(tree, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			s.t.Fatal(err)
		}
		in("-c", "filter.lfs.clean=cat", "add", "--", file)
	}
	commit := in(append([]string{"commit-tree", "-m", "a commit", in("write-tree")}, parent...)...)
	in("update-ref", "refs/heads/"+branch, commit)
	return commit
}
