package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// probe is the name of a repository in .git that has commits without files, for a while.
const probe = "wharf-probe"

// deepest fetches the history that a shallow repository lacks; unlike --unshallow also where it lacks none.
const deepest = "--depth=2147483647"

// fetch makes the repository, brings the branch into it, and returns the commit to check out.
func (c *cloner) fetch(ctx context.Context) (string, error) {
	format := "sha1"
	if len(c.o.Commit) == 64 {
		format = "sha256"
	}
	tip, err := c.fetchInto(ctx, format)
	if says(err, "mismatched algorithms") {
		other := map[string]string{"sha1": "sha256", "sha256": "sha1"}[format]
		c.out.say("the repository uses %s", other)
		tip, err = c.fetchInto(ctx, other)
	}
	if err != nil {
		return "", err
	}
	if c.o.Commit == "" || c.o.Commit == tip {
		return tip, nil
	}
	return c.o.Commit, c.fetchCommit(ctx, tip, format)
}

// tracking is where the branch of the server is.
func (c *cloner) tracking() string { return "refs/remotes/origin/" + c.o.Branch }

func (c *cloner) refspec() string { return "+refs/heads/" + c.o.Branch + ":" + c.tracking() }

// fetchInto makes a repository with an object format and fetches the branch.
func (c *cloner) fetchInto(ctx context.Context, format string) (tip string, err error) {
	if err := c.initialise(ctx, c.o.Dir, format); err != nil {
		return "", err
	}
	if err := c.setSparse(ctx); err != nil {
		return "", err
	}
	err = c.following(ctx, func() error {
		if _, err := c.local(ctx, c.o.Dir, "config", "remote.origin.url", c.url.Remote()); err != nil {
			return err
		}
		return c.pull(ctx, c.o.Dir, c.o.Depth, c.refspec())
	})
	switch {
	case reason(err) == NoBranch:
		return "", c.suggest(ctx, err)
	case err != nil:
		return "", err
	}
	out, err := c.local(ctx, c.o.Dir, "rev-parse", "--verify", "--quiet", "--end-of-options", c.tracking()+"^{commit}")
	return strings.TrimSpace(out), err
}

// initialise makes an empty repository in a directory, in place of the one that is there, and names the server in it.
func (c *cloner) initialise(ctx context.Context, dir, format string) error {
	entries, err := os.ReadDir(filepath.Join(dir, ".git"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() != unfinished {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, ".git", e.Name())))
		}
	}
	if _, err := c.local(ctx, dir, "init", "--quiet", "--template=", "--object-format="+format); err != nil {
		return err
	}
	for _, set := range [][2]string{{"remote.origin.url", c.url.Remote()}, {"remote.origin.fetch", c.refspec()}} {
		if _, err := c.local(ctx, dir, "config", set[0], set[1]); err != nil {
			return err
		}
	}
	return nil
}

// pull fetches what the refspec names to a depth. A server of the old kind, which serves files, knows no depth, and sends all.
func (c *cloner) pull(ctx context.Context, dir string, depth int, refspec string, more ...string) error {
	args := []string{"fetch", "--progress", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance", "--update-shallow"}
	if depth != All {
		args = append(args, "--depth="+strconv.Itoa(depth))
	}
	if len(c.o.Sparse) > 0 && dir == c.o.Dir {
		args = append(args, "--filter=blob:none")
	}
	args = append(args, more...)
	_, err := c.remote(ctx, dir, append(args, "--", "origin", refspec)...)
	if depth != All && says(err, "does not support shallow") {
		return c.pull(ctx, dir, All, refspec, more...)
	}
	return err
}

// fetchCommit brings a commit that is not the tip of the branch, after it has seen that the branch reaches it: a server may hand out others
// too, such as those of a fork that someone else has made.
func (c *cloner) fetchCommit(ctx context.Context, tip, format string) error {
	reached, err := c.reaches(ctx, c.o.Dir)
	if reached || err != nil {
		return err
	}
	c.out.say("looking for commit %s in the history of the branch, which is at %s", c.o.Commit, tip)
	if c.o.Depth != All {
		reached, err = c.probe(ctx, format)
	}
	if err != nil {
		return err
	}
	if !reached {
		return &Error{Reason: NoCommit, Err: fmt.Errorf("branch %s is at %s, and commit %s is not in its history", c.o.Branch, tip, c.o.Commit)}
	}
	err = c.pull(ctx, c.o.Dir, c.o.Depth, c.o.Commit)
	if reason(err) != NoCommit {
		return err
	}
	c.out.say("the server does not give single commits; fetching the whole branch")
	if err := c.pull(ctx, c.o.Dir, All, c.refspec(), deepest); err != nil {
		return err
	}
	if reached, err = c.reaches(ctx, c.o.Dir); err == nil && !reached {
		err = &Error{Reason: NoCommit, Err: errors.New("the branch was rewritten meanwhile")}
	}
	return err
}

// reaches reports whether the branch contains the commit, as far as its history is in a repository.
func (c *cloner) reaches(ctx context.Context, dir string) (bool, error) {
	_, err := c.call(ctx, command{dir: dir, quiet: true, args: []string{"merge-base", "--is-ancestor", c.o.Commit, c.tracking()}})
	if _, ok := errors.AsType[*gitError](err); ok { // no, or it is not there, and Git died when it asked the server for it
		return false, nil
	}
	return err == nil, err
}

// probe looks for the commit in the history of the branch, ever deeper, and fetches commits without files if the server can do that.
func (c *cloner) probe(ctx context.Context, format string) (reached bool, err error) {
	dir := filepath.Join(c.o.Dir, ".git", probe)
	if err := os.Mkdir(dir, 0o777); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := c.initialise(ctx, dir, format); err != nil {
		return false, err
	}
	for _, depth := range []int{100, 2000, All} {
		more := []string{"--filter=tree:0"}
		if depth == All {
			if _, err := os.Stat(filepath.Join(dir, ".git", "shallow")); err != nil {
				return false, nil // there is no more
			}
			more = append(more, "--unshallow")
		}
		if err := c.pull(ctx, dir, depth, c.refspec(), more...); err != nil {
			return false, err
		}
		if reached, err = c.reaches(ctx, dir); reached || err != nil {
			return reached, err
		}
	}
	return false, nil
}
