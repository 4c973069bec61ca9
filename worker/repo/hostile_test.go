package repo

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A .git file that came with the files names a directory of this machine that is no repository of this worktree.
func TestHostileWorktree(t *testing.T) {
	other := t.TempDir()
	write(t, other, map[string]string{"id_rsa": "PRIVATE"})
	repository := t.TempDir()
	git(t, repository, "init", "-q")
	git(t, repository, "commit", "-q", "--allow-empty", "-m", "one")
	git(t, repository, "worktree", "add", "-q", filepath.Join(t.TempDir(), "w"))
	cases := map[string]map[string]string{
		"any directory":               {".git": "gitdir: x", "x/commondir": other},
		"any directory, named itself": {".git": "gitdir: x/worktrees/w", "x/worktrees/w/commondir": other, "x/worktrees/w/gitdir": "../../../.git"},
		"a link to any directory":     {".git": "gitdir: x/worktrees/w", "x/worktrees/w/commondir": "../../y", "x/worktrees/w/gitdir": "../../../.git", "y": "->" + other},
		"another one's worktree":      {".git": "gitdir: " + filepath.Join(repository, ".git", "worktrees", "w")},
	}
	for name, files := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, files)
			var warnings []string
			headers, contents := stream(t, dir, Options{Warn: func(s string) { warnings = append(warnings, s) }})
			for name := range headers {
				if strings.HasPrefix(name, ".git/") {
					t.Errorf("%s is in the stream: %q", name, contents[name])
				}
			}
			if !strings.Contains(strings.Join(warnings, "\n"), "git worktree repair") {
				t.Errorf("warnings %q", warnings)
			}
		})
	}
}

// A partial clone's configuration names the program that fetches what is missing.
func TestHostileConfiguration(t *testing.T) {
	dir, trace := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	git(t, dir, "init", "-q")
	write(t, dir, map[string]string{".gitignore": "*.o\n", "f": "text"})
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "one")
	git(t, dir, "update-index", "--skip-worktree", ".gitignore")
	oid := git(t, dir, "rev-parse", "HEAD:.gitignore")
	write(t, dir, map[string]string{"a.o": "object"})
	for _, name := range []string{filepath.Join(".git", "objects", oid[:2], oid[2:]), ".gitignore"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, kv := range [][2]string{
		{"core.repositoryformatversion", "1"}, {"extensions.partialClone", "origin"}, {"remote.origin.promisor", "true"},
		{"remote.origin.url", "ssh://localhost/x"}, {"core.sshCommand", "touch '" + trace + "'; false"}, {"protocol.ssh.allow", "always"},
		{"core.fsmonitor", "touch '" + trace + "'"},
	} {
		git(t, dir, "config", kv[0], kv[1])
	}
	stream(t, dir, Options{})
	if exists(trace) {
		t.Error("a program that the repository names was run")
	}
}

// A .gitignore that never ends, or is somewhere else, is none.
func TestHostileIgnore(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{".gitignore": "->/dev/zero", "a/.gitignore": "->../b", "b": "*", "c/.gitignore": "->/dev/stdin", "c/f": "text"})
	var out bytes.Buffer
	if err := Tar(context.Background(), &out, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	headers, _ := parse(t, &out)
	for _, name := range []string{".gitignore", "a/.gitignore", "b", "c/f"} {
		if headers[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}
