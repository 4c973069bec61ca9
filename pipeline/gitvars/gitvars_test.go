package gitvars

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// repo makes a repository and returns a function that runs git in it.
func repo(t *testing.T) (dir string, run func(args ...string) string) {
	t.Helper()
	dir = t.TempDir()
	isolate(t)
	run = func(args ...string) string {
		t.Helper()
		return runGit(t, dir, args...)
	}
	run("init", "-q", "-b", "feature/one")
	return dir, run
}

// isolate keeps git away from the configuration of whoever runs the test.
func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	t.Setenv("GIT_CEILING_DIRECTORIES", os.TempDir())
}

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE=2024-01-02T03:04:05+01:00", "GIT_COMMITTER_DATE=2024-02-03T04:05:06Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	got, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func equal(t *testing.T, got, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables differ (-want +got):\n%s", diff)
	}
}

func TestRead(t *testing.T) {
	dir, run := repo(t)
	run("commit", "-q", "--allow-empty", "-m", "Say ${HOME} and ü\n\nbody")
	run("remote", "add", "other", "https://example.com/x/y")
	run("remote", "add", "origin", "git@example.com:group/sub/project.git")
	want := map[string]string{
		Branch: "feature/one", RepoBranch: "feature/one", SafeBranch: "feature-one",
		Commit: run("rev-parse", "HEAD"), AuthorDate: "2024-01-02T03:04:05+01:00", CommitterDate: "2024-02-03T04:05:06+00:00",
		Subject: "Say ${HOME} and ü", Tag: "", RepoName: "project", RepoGroup: "group/sub",
	}
	equal(t, read(t, dir), want)

	sub := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	equal(t, read(t, sub), want)

	tree := filepath.Join(t.TempDir(), "tree")
	run("worktree", "add", "-q", "-b", "two", tree)
	want[Branch], want[RepoBranch], want[SafeBranch] = "two", "two", "two"
	equal(t, read(t, tree), want)

	run("checkout", "-q", "--detach")
	delete(want, Branch)
	delete(want, RepoBranch)
	delete(want, SafeBranch)
	equal(t, read(t, dir), want)
}

func TestRead_newestTagByDate(t *testing.T) {
	dir, run := repo(t)
	run("commit", "-q", "--allow-empty", "-m", "one")
	run("tag", "z-light")
	tag := func(name, date string) {
		t.Helper()
		cmd := exec.Command("git", "-C", dir, "-c", "user.name=A", "-c", "user.email=a@example.com", "tag", "-a", "-m", "x", name)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE="+date)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	tag("v1.9", "2025-05-05T00:00:00Z")
	tag("v1.10", "2025-05-05T00:00:00Z")
	tag("v0.1", "2025-01-01T00:00:00Z")
	if got := read(t, dir)[Tag]; got != "v1.10" {
		t.Errorf("tag %q, want v1.10", got)
	}
	run("commit", "-q", "--allow-empty", "-m", "two")
	if got, ok := read(t, dir)[Tag]; got != "" || !ok {
		t.Errorf("tag %q, %v; want an empty one", got, ok)
	}
}

func TestRead_longSubject(t *testing.T) {
	dir, run := repo(t)
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 3<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	run("commit", "-q", "--allow-empty", "-F", file)
	if _, err := Read(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("error %v", err)
	}
}

func TestRead_notUTF8(t *testing.T) {
	dir, run := repo(t)
	run("commit", "-q", "--allow-empty", "-m", "one")
	run("tag", "a\xffb")
	if got := read(t, dir)[Tag]; got != "a\ufffdb" {
		t.Errorf("tag %q", got)
	}
}

func TestRead_otherConfig(t *testing.T) {
	dir, run := repo(t)
	run("remote", "add", "origin", "git@example.com:group/project.git")
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[remote \"origin\"]\nurl = https://example.com/x/y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_CONFIG", file)
	if got := read(t, dir)[RepoName]; got != "project" {
		t.Errorf("name %q, want project", got)
	}
}

func TestRead_little(t *testing.T) {
	t.Run("no repository", func(t *testing.T) {
		isolate(t)
		equal(t, read(t, t.TempDir()), map[string]string{})
	})
	t.Run("empty repository", func(t *testing.T) {
		dir, _ := repo(t)
		equal(t, read(t, dir), map[string]string{Branch: "feature/one", RepoBranch: "feature/one", SafeBranch: "feature-one"})
	})
	t.Run("no git", func(t *testing.T) {
		dir, _ := repo(t)
		t.Setenv("PATH", t.TempDir())
		equal(t, read(t, dir), map[string]string{})
	})
	t.Run("foreign GIT_DIR", func(t *testing.T) {
		dir, _ := repo(t)
		t.Setenv("GIT_DIR", filepath.Join(dir, ".git"))
		equal(t, read(t, t.TempDir()), map[string]string{})
	})
}

func TestRead_clones(t *testing.T) {
	dir, run := repo(t)
	for _, m := range []string{"one", "two"} {
		run("commit", "-q", "--allow-empty", "-m", m)
	}
	run("config", "uploadpack.allowFilter", "true")
	for _, kind := range []string{"--depth=1", "--filter=blob:none", "--filter=tree:0"} {
		t.Run(kind, func(t *testing.T) {
			clone := filepath.Join(t.TempDir(), "clone")
			runGit(t, dir, "clone", "-q", "--no-checkout", kind, "file://"+dir, clone)
			got := read(t, clone)
			if got[Subject] != "two" || got[Commit] != run("rev-parse", "HEAD") || got[RepoName] != filepath.Base(dir) {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A repository that runs programs by its configuration must not run them here.
func TestRead_hostile(t *testing.T) {
	dir, run := repo(t)
	run("commit", "-q", "--allow-empty", "-m", "one")
	proof := filepath.Join(t.TempDir(), "proof")
	evil := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(evil, []byte("#!/bin/sh\ntouch "+proof+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"core.fsmonitor", "core.pager", "pager.log", "gpg.program", "core.sshCommand", "credential.helper", "core.editor",
		"core.askPass", "diff.external", "alias.log", "alias.config", "alias.for-each-ref", "uploadpack.packObjectsHook",
	} {
		run("config", key, evil)
	}
	run("config", "log.showSignature", "true")
	run("config", "core.hooksPath", filepath.Dir(evil))
	if got := read(t, dir); got[Subject] != "one" {
		t.Errorf("got %v", got)
	}
	if _, err := os.Stat(proof); err == nil {
		t.Error("a program of the repository's configuration was run")
	}
}

func TestRead_failures(t *testing.T) {
	t.Run("broken repository", func(t *testing.T) {
		dir, _ := repo(t)
		if err := os.WriteFile(filepath.Join(dir, ".git", "config"), []byte("[broken"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "bad config") {
			t.Errorf("error %v, want one about the configuration", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		dir, _ := repo(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Read(ctx, dir); err == nil {
			t.Error("no error")
		}
	})
	t.Run("foreign owner", func(t *testing.T) {
		dir, _ := repo(t)
		t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
		if _, err := Read(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "safe.directory") {
			t.Errorf("error %v, want one about safe.directory", err)
		}
	})
}

func TestSplitURL(t *testing.T) {
	tests := []struct{ url, group, name string }{
		{"https://example.com/group/name.git", "group", "name"},
		{"https://user:pw@example.com:8443/a/b/name/", "a/b", "name"},
		{"git@example.com:group/name.git", "group", "name"},
		{"example.com:name", "", "name"},
		{"ssh://git@example.com:22/group/name", "group", "name"},
		{"https://dev.azure.com/org/project/_git/name", "org/project", "name"},
		{"https://example.com/gr%C3%BC/n%20m", "grü", "n m"},
		{"file:///srv/git/group/name.git", "srv/git/group", "name"},
		{"/srv/git/name/.git", "srv/git", "name"},
		{"../name", "", "name"},
		{"", "", ""},
		{"https://example.com", "", ""},
		{"https://example.com/.git", "", ""},
	}
	for _, tt := range tests {
		if group, name := splitURL(tt.url); group != tt.group || name != tt.name {
			t.Errorf("splitURL(%q) = %q, %q; want %q, %q", tt.url, group, name, tt.group, tt.name)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		if _, err := Read(b.Context(), "."); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleRead() {
	vars, err := Read(context.Background(), ".")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(vars[Branch], vars[Commit])
}
