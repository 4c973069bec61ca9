package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// errNoRepository says that a directory belongs to no Git repository.
var errNoRepository = errors.New("no repository")

// askGit returns the paths in dir that Git ignores and does not track, relative to dir; directories end in a slash.
func askGit(ctx context.Context, dir string) (map[string]bool, error) {
	if !inRepository(dir) {
		return nil, errNoRepository
	}
	// A repository's configuration may name programs to run; none is needed here. See environment, too.
	cmd := exec.CommandContext(ctx, "git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath="+os.DevNull, "-C", dir,
		"ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z")
	cmd.Env = environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if text, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n"); text != "" {
			return nil, errors.New(text)
		}
		return nil, fmt.Errorf("git: %w", err)
	}
	ignored := map[string]bool{}
	for name := range strings.SplitSeq(stdout.String(), "\x00") {
		if name == "./" {
			return nil, errNoRepository // the directory as a whole is an ignored part of another repository
		}
		if name != "" {
			ignored[name] = true
		}
	}
	return ignored, nil
}

// inRepository reports whether dir or a directory above it has a .git.
func inRepository(dir string) bool {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for ; ; abs = filepath.Dir(abs) {
		if exists(filepath.Join(abs, ".git")) {
			return true
		}
		if filepath.Dir(abs) == abs {
			return false
		}
	}
}

// environment is the process's own, without the variables by which a Git hook says which repository it runs in. Of a partial
// clone Git would fetch what is missing, by a program that the repository's configuration names: no protocol is allowed.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE",
			"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_INTERNAL_SUPER_PREFIX":
			return true
		}
		return false
	})
	return append(env, "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=")
}

// gitRules are what Git says of the repository at base.
type gitRules struct {
	base  string
	paths map[string]bool
}

func (g *gitRules) enter(string) error { return nil }

func (g *gitRules) ignored(rel string, dir bool) bool {
	if g.base != "." {
		rel = strings.TrimPrefix(rel, g.base+"/")
	}
	if dir {
		rel += "/"
	}
	return g.paths[rel]
}

// worktree writes a whole .git in place of the file of a linked worktree. It reports whether the file was one.
func (t *writer) worktree(file string) (bool, error) {
	text, err := readSmall(file)
	if err != nil {
		return false, unreadable(".git", err)
	}
	own, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir:")
	if !ok {
		return false, nil
	}
	own = absolute(filepath.Dir(file), strings.TrimSpace(own))
	common, err := readSmall(filepath.Join(own, "commondir"))
	if err != nil {
		return false, nil // a submodule that is built alone
	}
	shared := absolute(own, strings.TrimSpace(string(common)))
	if !linked(file, own, shared) {
		t.opts.Warn(fmt.Sprintf("%s names %s, which does not name it as a worktree of its own, so steps have no .git; if it was moved, run: git worktree repair", file, own))
		return false, nil
	}
	info, err := os.Stat(shared)
	if err != nil {
		return false, unreadable(".git", err)
	}
	if err := t.entry(".git", shared, info); err != nil {
		return true, err
	}
	mine := []string{"HEAD", "index", "ORIG_HEAD", "FETCH_HEAD", "MERGE_HEAD"}
	skip := map[string]bool{"worktrees": true}
	for _, name := range mine {
		skip[name] = true
	}
	if err := t.elsewhere(shared, skip); err != nil {
		return true, err
	}
	for _, name := range mine {
		info, err := os.Lstat(filepath.Join(own, name))
		if err != nil {
			continue
		}
		if err := t.entry(path.Join(".git", name), filepath.Join(own, name), info); err != nil {
			return true, err
		}
	}
	return true, nil
}

// linked reports whether a repository's shared directory says itself that the worktree with the .git file is one of its own. The
// file alone proves nothing: it may have come with the repository, and name any directory of this machine.
func linked(file, own, shared string) bool {
	text, err := readSmall(filepath.Join(own, "gitdir"))
	if err != nil || filepath.Base(filepath.Dir(own)) != "worktrees" {
		return false
	}
	return sameFile(file, absolute(own, strings.TrimSpace(string(text)))) && sameFile(shared, filepath.Dir(filepath.Dir(own)))
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// elsewhere writes the entries of the directory dir, which lies outside of the repository, below ".git".
func (t *writer) elsewhere(dir string, skip map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unreadable(".git", err)
	}
	other := *t
	other.dir = dir
	for _, e := range entries {
		if skip[e.Name()] {
			continue
		}
		if err := other.below(".git", e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// below writes the entry rel of t.dir under the name prefix/rel, and what is below it.
func (t *writer) below(prefix, rel string) error {
	abs := filepath.Join(t.dir, filepath.FromSlash(rel))
	info, err := os.Lstat(abs)
	if err != nil {
		return unreadable(path.Join(prefix, rel), err)
	}
	if err := t.entry(path.Join(prefix, rel), abs, info); err != nil || !info.IsDir() {
		return err
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return unreadable(path.Join(prefix, rel), err)
	}
	for _, e := range entries {
		if err := t.below(prefix, path.Join(rel, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
