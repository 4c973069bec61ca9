package clone

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/wharfci/wharf/pipeline/gitvars"
	"github.com/wharfci/wharf/provisioner/giturl"
)

// history makes a repository "group/name.git" with five commits on main, the oldest first, and other branches.
func history(t testing.TB) (h *host, commits []string) {
	h = newHost(t)
	h.repo("group/name.git")
	for i := range 5 {
		commits = append(commits, h.commit("group/name.git", "main", map[string]string{"file": strconv.Itoa(i), "dir/below": "x"}))
	}
	git(t, h.root+"/group/name.git", "tag", "v1", "main")
	return h, commits
}

func TestClone(t *testing.T) {
	h, commits := history(t)
	url, _ := serve(t, h.handler())
	r, dir := must(t, Options{URL: url + "/group/name.git", Branch: "main"})
	if r != (Result{Commit: commits[4], Branch: "main"}) {
		t.Errorf("%+v", r)
	}
	if got := read(t, dir, "file"); got != "4" {
		t.Errorf("file is %q", got)
	}
	if n := git(t, dir, "rev-list", "--count", "HEAD"); n != "1" {
		t.Errorf("there are %s commits", n)
	}
	if tags := git(t, dir, "tag"); tags != "" {
		t.Errorf("there are tags: %s", tags)
	}
	if hooks := exists(dir, ".git/hooks"); hooks {
		t.Error("there are hooks")
	}
	if exists(dir, ".git", unfinished) {
		t.Error("the mark stays")
	}
	vars, err := gitvars.Read(context.Background(), dir)
	if err != nil || vars[gitvars.Branch] != "main" || vars[gitvars.Commit] != commits[4] || vars[gitvars.RepoGroup] != "group" || vars[gitvars.RepoName] != "name" {
		t.Errorf("%v, %v", vars, err)
	}
}

func TestDepth(t *testing.T) {
	h, _ := history(t)
	url, _ := serve(t, h.handler())
	for depth, want := range map[int]string{3: "3", All: "5", 100: "5"} {
		if _, dir := must(t, Options{URL: url + "/group/name.git", Branch: "main", Depth: depth}); git(t, dir, "rev-list", "--count", "HEAD") != want {
			t.Errorf("depth %d gives other than %s commits", depth, want)
		}
	}
}

// Without a branch it is the one that the repository names.
func TestDefaultBranch(t *testing.T) {
	h, _ := history(t)
	git(t, h.root+"/group/name.git", "branch", "trunk", "main~1")
	git(t, h.root+"/group/name.git", "symbolic-ref", "HEAD", "refs/heads/trunk")
	h.repo("empty.git")
	url, _ := serve(t, h.handler())
	if r, _ := must(t, Options{URL: url + "/group/name.git"}); r.Branch != "trunk" {
		t.Errorf("%+v", r)
	}
	fails(t, Options{URL: url + "/empty.git"}, NoBranch, "is empty")
	fails(t, Options{URL: url + "/empty.git", Branch: "main"}, NoBranch, "is empty")
}

func TestCommit(t *testing.T) {
	h, commits := history(t)
	dir := h.root + "/group/name.git"
	git(t, dir, "branch", "other", commits[0])
	elsewhere := h.commit("group/name.git", "other", map[string]string{"secret": "of a fork"})
	for name, config := range map[string]string{"gives commits": "uploadpack.allowAnySHA1InWant=true", "gives none": "protocol.version=0"} {
		t.Run(name, func(t *testing.T) {
			url, _ := serve(t, h.handler(config, "uploadpack.allowFilter="+strconv.FormatBool(name == "gives commits")))
			o := Options{URL: url + "/group/name.git", Branch: "main"}
			for i, c := range commits {
				o.Commit = c
				if r, dir := must(t, o); r != (Result{c, "main"}) || read(t, dir, "file") != strconv.Itoa(i) {
					t.Errorf("commit %d: %+v", i, r)
				}
			}
			o.Depth, o.Commit = 3, commits[3]
			if r, _ := must(t, o); r.Commit != commits[3] {
				t.Errorf("%+v", r)
			}
			o.Depth, o.Commit = All, commits[0]
			if r, _ := must(t, o); r.Commit != commits[0] {
				t.Errorf("%+v", r)
			}
			for _, depth := range []int{1, All} {
				o.Depth, o.Commit = depth, elsewhere
				fails(t, o, NoCommit, "branch main is at "+commits[4], elsewhere)
			}
			o.Commit = strings.Repeat("0f", 20)
			fails(t, o, NoCommit)
		})
	}
}

// The branch of a name that a shell, Git or ssh could take for more than a name.
func TestBranchNames(t *testing.T) {
	h, _ := history(t)
	names := []string{"feature/a", "it's", `"quoted"`, "$HOME", "$(touch)", "`touch`", "a;b&&c|d", "100%", "#1", "a!b", "(a)", "<a>", "größe/日本語", "\U0001f680", "@", "a@b", "{x}",
		"a=b,c", "+main", "refs/heads/main", "heads/-main", "a.lockb", "main\u00a0x", "tags/v1", "origin/main", "v1", "FETCH_HEAD", "sub/--help"}
	commits := map[string]string{}
	for _, name := range names {
		if err := giturl.ValidBranch(name); err != nil {
			t.Fatal(err)
		}
		commits[name] = h.commit("group/name.git", name, map[string]string{"name": name})
	}
	url, _ := serve(t, h.handler())
	for _, name := range names {
		r, dir := must(t, Options{URL: url + "/group/name.git", Branch: name})
		if r != (Result{commits[name], name}) || read(t, dir, "name") != name {
			t.Errorf("%q: %+v", name, r)
		}
		if vars, err := gitvars.Read(context.Background(), dir); err != nil || vars[gitvars.Branch] != name {
			t.Errorf("%q: %v, %v", name, vars, err)
		}
	}
}

// A repository may have names for its hashes of another kind.
func TestSHA256(t *testing.T) {
	h := newHost(t)
	h.repo("new.git", "--object-format=sha256")
	first := h.commit("new.git", "main", map[string]string{"file": "1"})
	h.commit("new.git", "main", map[string]string{"file": "2"})
	url, _ := serve(t, h.handler())
	if r, _ := must(t, Options{URL: url + "/new.git", Branch: "main"}); len(r.Commit) != 64 {
		t.Errorf("%+v", r)
	}
	if r, _ := must(t, Options{URL: url + "/new.git", Branch: "main", Commit: first}); r.Commit != first {
		t.Errorf("%+v", r)
	}
}

// A server that only serves files knows no depth, and works.
func TestServerOfFiles(t *testing.T) {
	h, commits := history(t)
	git(t, h.root+"/group/name.git", "update-server-info")
	url, _ := serve(t, http.FileServer(http.Dir(h.root)))
	for _, commit := range []string{"", commits[1]} {
		if r, _ := must(t, Options{URL: url + "/group/name.git", Branch: "main", Commit: commit}); commit != "" && r.Commit != commit || r.Branch != "main" {
			t.Errorf("%+v", r)
		}
	}
}

func TestSparse(t *testing.T) {
	h := newHost(t)
	h.repo("mono.git")
	old := h.commit("mono.git", "main", map[string]string{"top": "t", "a/b/c": "abc", "a/d": "ad", "e f/ü": "ef", "big/file": "never"})
	h.commit("mono.git", "main", map[string]string{"big/file": "later"})
	for _, filter := range []string{"true", "false"} {
		url, _ := serve(t, h.handler("uploadpack.allowFilter="+filter))
		_, dir := must(t, Options{URL: url + "/mono.git", Branch: "main", Sparse: []string{"a/b/", "/e f"}})
		for path, want := range map[string]bool{"top": true, "a/b/c": true, "a/d": true, "e f/ü": true, "big": false} {
			if exists(dir, path) != want {
				t.Errorf("filter %s: %s exists: %v", filter, path, !want)
			}
		}
		if filter == "true" && !strings.Contains(git(t, dir, "rev-list", "--objects", "--missing=print", "HEAD"), "?") {
			t.Error("everything was fetched")
		}
		if _, dir = must(t, Options{URL: url + "/mono.git", Branch: "main", Commit: old, Sparse: []string{"big"}}); read(t, dir, "big/file") != "never" || exists(dir, "a") {
			t.Error("not the commit that is wanted")
		}
		fails(t, Options{URL: url + "/mono.git", Branch: "main", Sparse: []string{"a", "nowhere"}}, NoPath, `"nowhere"`)
		fails(t, Options{URL: url + "/mono.git", Branch: "main", Sparse: []string{"top"}}, NoPath)
	}
}

func TestToken(t *testing.T) {
	h, _ := history(t)
	const token = "s3cret/+%&=token"
	url, seen := serve(t, basic("me", token, h.handler()))
	file := write(t, token+"\n")
	r, dir := must(t, Options{URL: url + "/group/name.git", Branch: "main", User: "me", TokenFile: file})
	if r.Commit == "" || exists(file) {
		t.Errorf("%+v, and the file of the token is there: %v", r, exists(file))
	}
	filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.Contains(read(t, path), "s3cret") {
			t.Errorf("the token is in %s", path)
		}
		return err
	})
	if _, auth := seen.all(); auth[len(auth)-1] == "" {
		t.Error("the server got no credential")
	}
	_, _ = must(t, Options{URL: strings.Replace(url, "//", "//me@", 1) + "/group/name.git", Branch: "main", TokenFile: write(t, token)})
	kept := write(t, token)
	must(t, Options{URL: url + "/group/name.git", Branch: "main", User: "me", TokenFile: kept, KeepToken: true})
	if read(t, kept) != token {
		t.Error("the token is gone")
	}
	linked := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(kept, linked); err != nil {
		t.Fatal(err)
	}
	must(t, Options{URL: url + "/group/name.git", Branch: "main", User: "me", TokenFile: linked})
	if exists(kept) || exists(linked) {
		t.Error("the token behind a link stays")
	}
	fails(t, Options{URL: url + "/group/name.git", Branch: "main"}, Auth, "none was given")
	wrong := write(t, "wr0ng")
	text, printed := fails(t, Options{URL: url + "/group/name.git", Branch: "main", User: "me", TokenFile: wrong}, Auth, "has not expired")
	if strings.Contains(text+printed, "wr0ng") || !exists(wrong) {
		t.Errorf("the token is shown, or gone after a failure: %s\n%s", text, printed)
	}
	fails(t, Options{URL: url + "/group/name.git", Branch: "main", TokenFile: write(t, "-----BEGIN OPENSSH PRIVATE KEY-----\n")}, Invalid, "SSH URL")
	fails(t, Options{URL: url + "/group/name.git", Branch: "main", TokenFile: write(t, " \n")}, Invalid, "is empty")
	fails(t, Options{URL: url + "/group/name.git", Branch: "main", TokenFile: "/nonexistent/token"}, Invalid, "/nonexistent/token")
}

// Neither arguments nor environment of any run of Git have the token.
func TestTokenIsNotShown(t *testing.T) {
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	seen := filepath.Join(bin, "seen")
	script := "#!/bin/sh\n{ echo \"$@\"; env; } >>'" + seen + "'\nexec '" + real + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o777); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	h := nested(t)
	url, _ := serve(t, basic("oauth2", "s3cret", h.handler()))
	_, out, err := try(t, Options{URL: url + "/group/top.git", Branch: "main", Submodules: true, TokenFile: write(t, "s3cret")})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if text := read(t, seen); strings.Contains(text, "s3cret") || !strings.Contains(text, "GIT_CONFIG_COUNT") {
		t.Errorf("%s", text)
	}
}

func TestCertificate(t *testing.T) {
	h, _ := history(t)
	srv := httptest.NewTLSServer(h.handler())
	defer srv.Close()
	fails(t, Options{URL: srv.URL + "/group/name.git", Branch: "main"}, Certificate, "CA file")
	ca := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	if _, err := x509.ParseCertificate(srv.Certificate().Raw); err != nil {
		t.Fatal(err)
	}
	must(t, Options{URL: srv.URL + "/group/name.git", Branch: "main", CAFile: ca, Policy: giturl.Policy{Allow: []string{"127.0.0.1"}}})
	fails(t, Options{URL: srv.URL + "/group/name.git", Branch: "main", CAFile: write(t, "no certificate")}, Invalid, "no certificate")
}

// What the machine's user has configured for Git has no effect, and neither has what the repository brings.
func TestIsolation(t *testing.T) {
	h, _ := history(t)
	h.commit("group/name.git", "main", map[string]string{".gitattributes": "* filter=evil\n", ".gitconfig": "[core]\n"})
	home := t.TempDir()
	touched := filepath.Join(home, "touched")
	config := "[core]\n\thooksPath = " + home + "\n\tfsmonitor = \"touch " + touched + "; false\"\n[filter \"evil\"]\n\tsmudge = touch " + touched + "; cat\n" +
		"[init]\n\ttemplateDir = " + home + "\n[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://127\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "post-checkout"), []byte("#!/bin/sh\ntouch "+touched+"\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(home, ".gitconfig"))
	t.Setenv("GIT_DIR", home)
	t.Setenv("GIT_SSH_COMMAND", "touch "+touched)
	t.Setenv("GIT_TRACE", touched)
	t.Setenv("GIT_TEMPLATE_DIR", home)
	url, _ := serve(t, h.handler())
	if _, out, err := try(t, Options{URL: url + "/group/name.git", Branch: "main"}); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if exists(touched) {
		t.Error("something of the machine's configuration has run")
	}
}

func TestDirectory(t *testing.T) {
	h, _ := history(t)
	url, _ := serve(t, h.handler())
	o := Options{URL: url + "/group/name.git", Branch: "main"}
	o.Dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(o.Dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // as a volume may be another's
		if err := os.Chown(o.Dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if _, out, err := try(t, o); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fails(t, o, NotEmpty, o.Dir, `".git"`)
	if read(t, o.Dir, "file") != "4" {
		t.Error("what was there is gone")
	}
	// A clone that was killed is begun anew.
	for _, path := range []string{".git/" + unfinished, "half", ".git/HEAD.lock"} {
		if err := os.WriteFile(filepath.Join(o.Dir, path), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if _, out, err := try(t, o); err != nil || exists(o.Dir, "half") {
		t.Errorf("%v\n%s", err, out)
	}
	// What was an empty directory stays one.
	o.Dir, o.Branch = t.TempDir(), "nowhere"
	if _, _, err := try(t, o); err == nil {
		t.Error("it succeeds")
	}
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	o.Dir = write(t, "a file")
	if _, _, err := try(t, o); err == nil {
		t.Error("a file is taken for a directory")
	}
	o.Dir = filepath.Join(t.TempDir(), "a b'$x", "-c")
	o.Branch = "main"
	must(t, o)
}

func TestWrongUse(t *testing.T) {
	fine := func() Options { return Options{URL: "https://host.example/a", Branch: "main", Dir: "/nonexistent/dir"} }
	for name, change := range map[string]func(*Options){
		"URL":     func(o *Options) { o.URL = "--upload-pack=touch" },
		"file":    func(o *Options) { o.URL = "file:///srv" },
		"branch":  func(o *Options) { o.Branch = "--upload-pack=touch" },
		"refspec": func(o *Options) { o.Branch = "a:b" },
		"commit":  func(o *Options) { o.Commit = "--all" },
		"depth":   func(o *Options) { o.Depth = -2 },
		"timeout": func(o *Options) { o.Timeout = -1 },
		"dir":     func(o *Options) { o.Dir = "" },
		"sparse":  func(o *Options) { o.Sparse = []string{"../a"} },
		"glob":    func(o *Options) { o.Sparse = []string{"a/*"} },
		"policy":  func(o *Options) { o.Policy.Allow = []string{"a*b"} },
	} {
		o := fine()
		change(&o)
		if _, err := Clone(context.Background(), o); reason(err) != Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := fine()
	o.Policy.Allow = []string{"other.example"}
	if _, err := Clone(context.Background(), o); reason(err) != NotAllowed || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("%v", err)
	}
	o = fine()
	o.URL = "http://host.example/a"
	if _, err := Clone(context.Background(), o); reason(err) != NotAllowed {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Clone(context.Background(), fine()); reason(err) != NoGit {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("PATH"), "git"), nil, 0o777); err != nil {
		t.Fatal(err)
	}
	o = fine()
	o.Dir = filepath.Join(t.TempDir(), "clone")
	if err := os.WriteFile(filepath.Join(os.Getenv("PATH"), "git"), []byte("#!/bin/sh\necho git version 2.30.2\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	fails(t, o, NoGit, "2.30.2", "is too old")
	o = fine()
	o.LFS = true
	if _, err := Clone(context.Background(), o); reason(err) != NoLFS {
		t.Errorf("%v", err)
	}
	o = fine()
	o.URL = "git@host.example:a"
	if _, err := Clone(context.Background(), o); reason(err) != NoSSH {
		t.Errorf("%v", err)
	}
}

// A user that is a token comes in a file, is shown to the server, and to nobody else.
func TestUserFile(t *testing.T) {
	h, _ := history(t)
	url, _ := serve(t, basic("user-is-a-secret", "token-is-a-secret", h.handler()))
	o := Options{URL: url + "/group/name.git", Branch: "main", UserFile: write(t, "user-is-a-secret\n"), TokenFile: write(t, "token-is-a-secret")}
	must(t, o)
	for _, path := range []string{o.UserFile, o.TokenFile} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	for name, change := range map[string]func(*Options){
		"two users": func(o *Options) { o.User = "me" }, "empty": func(o *Options) { o.UserFile = write(t, "\n") }, "none": func(o *Options) { o.UserFile += "x" },
	} {
		bad := Options{URL: o.URL, Branch: "main", UserFile: write(t, "user-is-a-secret"), TokenFile: write(t, "token-is-a-secret")}
		change(&bad)
		if _, out, err := try(t, bad); err == nil || strings.Contains(out+err.Error(), "is-a-secret") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
