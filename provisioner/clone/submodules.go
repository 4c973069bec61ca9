package clone

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// submodules clones those of the repository in dir, and theirs. within is its path for people, with a slash at the end.
//
// "git submodule update --recursive" would fetch from a URL of the second level before anyone has seen it, so each level is initialised,
// judged, and then fetched.
func (c *cloner) submodules(ctx context.Context, dir, within string) error {
	info, err := os.Lstat(filepath.Join(dir, ".gitmodules"))
	if err != nil || !info.Mode().IsRegular() {
		return nil // Git takes no other
	}
	if _, err := c.local(ctx, dir, "submodule", "init"); err != nil {
		return submodule(within, err)
	}
	// What init has put into the repository's configuration: only those that are part of the commit, and URLs that are complete.
	urls, err := c.settingsOf(ctx, dir, "--local", ".url")
	if err != nil {
		return err
	}
	paths, err := c.settingsOf(ctx, dir, "--file=.gitmodules", ".path")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(urls)) {
		if err := c.allowed(urls[name]); err != nil {
			return &Error{Reason: NotAllowed, Err: fmt.Errorf("submodule %s%s: %w", within, clean([]byte(name)), err)}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(urls)) {
		path := paths[name]
		if path == "" || !filepath.IsLocal(path) {
			continue // Git would not take it
		}
		if err := c.submodule(ctx, dir, path); err != nil {
			return submodule(within+path, err)
		}
		sub := filepath.Join(dir, path)
		if _, err := os.Lstat(filepath.Join(sub, ".git")); err != nil {
			continue // the repository says that it is not to be updated
		}
		if err := c.submodules(ctx, sub, within+path+"/"); err != nil {
			return err
		}
	}
	return nil
}

// submodule adds to an error which submodule it is of.
func submodule(path string, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	made := *e
	made.Err = &inSubmodule{clean([]byte(path)), e.Err}
	return &made
}

// inSubmodule is an error of one of the submodules.
type inSubmodule struct {
	path string
	err  error
}

func (e *inSubmodule) Error() string {
	if _, ofGit := e.err.(*gitError); ofGit { // whose words are told elsewhere
		return "submodule " + e.path
	}
	return fmt.Sprintf("submodule %s: %v", e.path, e.err)
}

func (e *inSubmodule) Unwrap() error { return e.err }

// settingsOf returns the settings of submodules that end with a word, by the submodules' names.
func (c *cloner) settingsOf(ctx context.Context, dir, where, word string) (map[string]string, error) {
	out, err := c.local(ctx, dir, "config", where, "-z", "--get-regexp", `^submodule\..*\`+word+"$")
	if g, ok := errors.AsType[*gitError](err); ok && g.code == 1 { // there are none
		return nil, nil
	}
	found := map[string]string{}
	for _, entry := range fields(out) {
		key, value, _ := strings.Cut(entry, "\n")
		found[strings.TrimSuffix(strings.TrimPrefix(key, "submodule."), word)] = value
	}
	return found, err
}

// submodule clones one, and checks it out.
func (c *cloner) submodule(ctx context.Context, dir, path string) error {
	args := []string{"submodule", "update", "--progress"}
	if c.o.Depth != All {
		args = append(args, "--depth="+strconv.Itoa(c.o.Depth))
	}
	_, err := c.remote(ctx, dir, append(args, "--", path)...)
	if c.o.Depth != All && reason(err) == NoCommit {
		c.out.say("the server does not give single commits; fetching all of submodule %s", path)
		if _, err := c.remote(ctx, filepath.Join(dir, path), "fetch", "--progress", deepest, "--", "origin", "+refs/heads/*:refs/remotes/origin/*"); err != nil {
			return err
		}
		_, err = c.remote(ctx, dir, "submodule", "update", "--progress", "--", path)
	}
	if err != nil || !c.o.LFS {
		return err
	}
	sub := filepath.Join(dir, path)
	if _, err := os.Lstat(filepath.Join(sub, ".git")); err != nil {
		return nil
	}
	if err := c.lfsAllowed(ctx, sub); err != nil {
		return err
	}
	_, err = c.remote(ctx, sub, "lfs", "pull")
	return err
}
