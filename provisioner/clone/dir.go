package clone

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// unfinished is the name of a file in .git that is there while a clone is not complete.
const unfinished = "wharf-unfinished"

// claimDir makes sure that the directory is there and empty, and marks it as being cloned into.
func (c *cloner) claimDir() error {
	if _, err := os.Stat(c.o.Dir); errors.Is(err, os.ErrNotExist) {
		c.madeDir = true
	}
	if err := os.MkdirAll(c.o.Dir, 0o777); err != nil {
		return err
	}
	mark := filepath.Join(c.o.Dir, ".git", unfinished)
	if _, err := os.Lstat(mark); err == nil {
		c.out.say("an earlier clone did not get to its end, and is begun anew")
		if err := c.empty(); err != nil {
			return err
		}
	}
	names, err := c.entries()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return &Error{Reason: NotEmpty, Err: fmt.Errorf("%s contains %q", c.o.Dir, names[0])}
	}
	if err := os.Mkdir(filepath.Dir(mark), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(mark, nil, 0o666); err != nil {
		return errors.Join(err, os.RemoveAll(filepath.Dir(mark)))
	}
	return nil
}

// entries lists the directory, without what a file system of its own has there from the beginning.
func (c *cloner) entries() ([]string, error) {
	all, err := os.ReadDir(c.o.Dir)
	var names []string
	for _, e := range all {
		if e.Name() != "lost+found" {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// empty removes what is in the directory; that it is complete goes first, and the mark last, since as long as it is there the rest may be removed.
func (c *cloner) empty() error {
	names, err := c.entries()
	errs := []error{err, os.RemoveAll(filepath.Join(c.o.Dir, ".git", finished))}
	for _, name := range names {
		if name != ".git" {
			errs = append(errs, os.RemoveAll(filepath.Join(c.o.Dir, name)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(c.o.Dir, ".git"))
}

// clearDir undoes what a clone that failed has made.
func (c *cloner) clearDir() error {
	if _, err := os.Lstat(filepath.Join(c.o.Dir, ".git", unfinished)); err != nil {
		return nil // it was never ours
	}
	if err := c.empty(); err != nil {
		return fmt.Errorf("removing what was cloned: %w", err)
	}
	if c.madeDir {
		return os.Remove(c.o.Dir)
	}
	return nil
}

// finish notes what was cloned, where it may be cloned again, removes the token and then the mark.
func (c *cloner) finish(r Result) error {
	if err := c.note(r); err != nil {
		return err
	}
	c.dropTokens()
	return os.Remove(filepath.Join(c.o.Dir, ".git", unfinished))
}

// plain are paths that mean nothing else to a shell, to ssh or to Git's configuration.
var plain = regexp.MustCompile(`^[A-Za-z0-9/._-]+$`)

// makePrivate makes the directory for secrets, and fills it.
func (c *cloner) makePrivate() (err error) {
	base := os.TempDir()
	if !plain.MatchString(base) {
		base = "/tmp"
	}
	if c.private, err = os.MkdirTemp(base, "wharf-clone-"); err != nil {
		return fmt.Errorf("making a private directory (TMPDIR says where): %w", err)
	}
	if err := os.Mkdir(c.home(), 0o700); err != nil {
		return err
	}
	if c.ssh, err = c.sshCommand(); err != nil {
		return err
	}
	c.config, err = c.settings()
	return err
}

func (c *cloner) home() string { return filepath.Join(c.private, "home") }

func (c *cloner) removePrivate() error {
	if c.private == "" {
		return nil
	}
	if err := os.RemoveAll(c.private); err != nil {
		return fmt.Errorf("removing the private directory: %w", err)
	}
	return nil
}

// keep writes a file into the private directory and returns its path.
func (c *cloner) keep(name string, data []byte) (string, error) {
	path := filepath.Join(c.private, name)
	return path, os.WriteFile(path, data, 0o600)
}
