package repo

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes files; a name that ends in a slash is a directory, and content that begins with "->" a link.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, link := strings.CutPrefix(files[name], "->")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case link:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// stream returns the entries of a directory's stream by name, and the content of files.
func stream(t *testing.T, dir string, opts Options) (map[string]*tar.Header, map[string]string) {
	t.Helper()
	var buf bytes.Buffer
	if err := Tar(context.Background(), &buf, dir, opts); err != nil {
		t.Fatal(err)
	}
	return parse(t, &buf)
}

func parse(t *testing.T, r io.Reader) (map[string]*tar.Header, map[string]string) {
	t.Helper()
	headers, contents := map[string]*tar.Header{}, map[string]string{}
	for entries := tar.NewReader(r); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(entries)
		if err != nil {
			t.Fatal(err)
		}
		if headers[h.Name] != nil {
			t.Errorf("%s is there twice", h.Name)
		}
		headers[h.Name], contents[h.Name] = h, string(text)
	}
}

// names lists what is not in .git.
func names(headers map[string]*tar.Header) []string {
	var list []string
	for name := range headers {
		if !strings.HasPrefix(name, ".git/") && !strings.Contains(name, "/.git/") && name != "./" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// unpack writes a stream to disk, to let git look at it.
func unpack(t *testing.T, headers map[string]*tar.Header, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		h, path := headers[name], filepath.Join(dir, name)
		var err error
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		default:
			err = os.WriteFile(path, []byte(contents[name]), fs.FileMode(h.Mode)&0o777|0o200)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var tree = map[string]string{
	".gitignore":           "*.o\n/build\n!keep.o\nlogs/\ndoc/**/*.tmp\n{a}\n# comment\n\\#hash\ntrailing   \nbare/**\n",
	"a.o":                  "",
	"keep.o":               "",
	"build":                "",
	"sub/build":            "kept: the rule is anchored",
	"sub/.gitignore":       "!a.o\n/only-here\n",
	"sub/a.o":              "kept by the deeper rule",
	"sub/b.o":              "",
	"sub/only-here":        "",
	"sub/deeper/only-here": "kept",
	"logs/x":               "",
	"sub/logs/y":           "",
	"doc/a.tmp":            "",
	"doc/b/c/d.tmp":        "",
	"doc/b/c/d.txt":        "",
	"{a}":                  "",
	"#hash":                "",
	"trailing":             "",
	"bare/x":               "",
	"empty/":               "",
	"name with ü\nline":    "x",
}

var kept = []string{".gitignore", "doc/", "doc/b/", "doc/b/c/", "doc/b/c/d.txt", "empty/", "keep.o", "name with ü\nline",
	"sub/", "sub/.gitignore", "sub/a.o", "sub/build", "sub/deeper/", "sub/deeper/only-here"}

func TestIgnored(t *testing.T) {
	t.Run("git", func(t *testing.T) {
		dir := t.TempDir()
		git(t, dir, "init", "-q")
		write(t, dir, tree)
		headers, _ := stream(t, dir, Options{Warn: func(s string) { t.Errorf("warning: %s", s) }})
		if headers[".git/"] == nil || headers[".git/HEAD"] == nil {
			t.Error(".git is not there")
		}
		got := slices.DeleteFunc(names(headers), func(s string) bool { return s == ".git/" || s == "bare/" })
		if diff := cmp.Diff(kept, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("no git", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, tree)
		headers, _ := stream(t, dir, Options{})
		got := slices.DeleteFunc(names(headers), func(s string) bool { return s == "bare/" })
		if diff := cmp.Diff(kept, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("switched off", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, tree)
		headers, _ := stream(t, dir, Options{Ignored: true})
		if headers["a.o"] == nil || headers["logs/x"] == nil {
			t.Errorf("ignored files are missing: %q", names(headers))
		}
	})
}

func TestTrackedIsNeverIgnored(t *testing.T) {
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	write(t, dir, map[string]string{"a.log": "tracked", "b.log": "", "logs/c": "tracked", "logs/d": "", ".gitignore": "*.log\nlogs\n/.idea", ".git/info/exclude": "local\n", "local": "", ".idea/x": ""})
	git(t, dir, "add", "-f", "a.log", "logs/c", ".gitignore")
	headers, _ := stream(t, dir, Options{})
	if diff := cmp.Diff([]string{".gitignore", "a.log", "logs/", "logs/c"}, names(headers)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if headers[".git/index"] == nil {
		t.Error(".git is not there")
	}
}

func TestSubmodule(t *testing.T) {
	lib, dir := t.TempDir(), t.TempDir()
	git(t, lib, "init", "-q")
	write(t, lib, map[string]string{"lib.c": "x", ".gitignore": "*.o\n"})
	git(t, lib, "add", ".")
	git(t, lib, "commit", "-qm", "lib")
	git(t, dir, "init", "-q")
	write(t, dir, map[string]string{"main.c": "x"})
	git(t, dir, "submodule", "--quiet", "add", lib, "vendor/lib")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-qm", "main")
	write(t, dir, map[string]string{"vendor/lib/lib.o": "ignored by the submodule", "main.o": "kept"})
	headers, contents := stream(t, dir, Options{Warn: func(s string) { t.Errorf("warning: %s", s) }})
	want := []string{".gitmodules", "main.c", "main.o", "vendor/", "vendor/lib/", "vendor/lib/.git", "vendor/lib/.gitignore", "vendor/lib/lib.c"}
	if diff := cmp.Diff(want, names(headers)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	copied := unpack(t, headers, contents)
	if got := git(t, filepath.Join(copied, "vendor/lib"), "log", "-1", "--format=%s"); got != "lib" {
		t.Errorf("the submodule's last commit is %q", got)
	}
}

func TestWorktree(t *testing.T) {
	dir, linked := t.TempDir(), filepath.Join(t.TempDir(), "linked")
	git(t, dir, "init", "-q")
	write(t, dir, map[string]string{"a": "x"})
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-qm", "first")
	git(t, dir, "tag", "v1")
	git(t, dir, "worktree", "add", "-q", "-b", "feature", linked)
	write(t, linked, map[string]string{"b": "x"})
	git(t, linked, "add", ".")
	git(t, linked, "commit", "-qm", "second")
	headers, contents := stream(t, linked, Options{Warn: func(s string) { t.Errorf("warning: %s", s) }})
	copied := unpack(t, headers, contents)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := git(t, copied, "describe", "--tags"); !strings.HasPrefix(got, "v1-1-g") {
		t.Errorf("git describe: %q", got)
	}
	if got := git(t, copied, "branch", "--show-current"); got != "feature" {
		t.Errorf("branch %q", got)
	}
	if got := git(t, copied, "status", "--porcelain"); got != "" {
		t.Errorf("git status: %q", got)
	}
}

func TestKinds(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"run.sh": "#!", "dangling": "->nowhere", "absolute": "->/etc/hostname", "outside": "->../../x", "dir/loop": "->..", "ro": "x"})
	if err := errors.Join(os.Chmod(filepath.Join(dir, "run.sh"), 0o755), os.Chmod(filepath.Join(dir, "ro"), 0o440), os.Chmod(filepath.Join(dir, "dir"), 0o750)); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2001, 2, 3, 4, 5, 6, 700, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, "run.sh"), at, at); err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	socket, err := lc.Listen(context.Background(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	var warnings []string
	headers, _ := stream(t, dir, Options{UID: 7, GID: 8, DirMode: 0o022, Warn: func(s string) { warnings = append(warnings, s) }})
	for name, want := range map[string]string{"dangling": "nowhere", "absolute": "/etc/hostname", "outside": "../../x", "dir/loop": ".."} {
		if h := headers[name]; h == nil || h.Typeflag != tar.TypeSymlink || h.Linkname != want {
			t.Errorf("link %s: %+v", name, h)
		}
	}
	for name, want := range map[string]int64{"run.sh": 0o755, "ro": 0o440, "dir/": 0o772} {
		if h := headers[name]; h == nil || h.Mode != want || h.Uid != 7 || h.Gid != 8 {
			t.Errorf("%s: %+v, want mode %o", name, h, want)
		}
	}
	if got := headers["run.sh"].ModTime; !got.Equal(at.Truncate(time.Second)) {
		t.Errorf("modification time %v", got)
	}
	if headers["s"] != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "socket") {
		t.Errorf("socket: %v, warnings %q", headers["s"], warnings)
	}
}

// A file that changes its size while it is read neither breaks the stream nor hangs.
func TestChanging(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "a")
	write(t, dir, map[string]string{"a": strings.Repeat("x", 1<<20), "b": "after"})
	r, w := io.Pipe()
	var warnings []string
	go func() {
		w.CloseWithError(Tar(context.Background(), w, dir, Options{Warn: func(s string) { warnings = append(warnings, s) }}))
	}()
	entries := tar.NewReader(r)
	for range 2 { // ".", "a"
		if _, err := entries.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(big, 100_000); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, entries)
	if n != 1<<20 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if h, err := entries.Next(); err != nil || h.Name != "b" {
		t.Errorf("next entry: %v, %v", h, err)
	}
	_, _ = io.Copy(io.Discard, r)
	if len(warnings) != 1 || !strings.Contains(warnings[0], "shrank") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestErrors(t *testing.T) {
	if err := Tar(context.Background(), io.Discard, filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "x"})
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("why")
	cancel(why)
	if err := Tar(ctx, io.Discard, dir, Options{Ignored: true}); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
}
