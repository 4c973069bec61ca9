package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// All is the depth of a clone with the whole history of the branch.
const All = -1

// DefaultTimeout is the time limit where none is given.
const DefaultTimeout = 30 * time.Minute

// Options say what to clone, and how.
type Options struct {
	URL    string // as giturl.Parse takes it
	Branch string // without refs/heads/; empty: the one that the repository's HEAD names
	// Commit is the whole hash of a commit that the branch reaches, and becomes the local branch's; empty: the branch's newest.
	Commit string
	Depth  int    // how many commits of the history: 0 is 1, All is all
	Dir    string // is made if it is not there; has to be empty, but for lost+found; belongs to one clone at a time

	Submodules bool     // clone submodules too, and theirs, as shallow as the repository itself
	LFS        bool     // fetch what Git LFS keeps; otherwise its pointers stay in the files' places
	Sparse     []string // directories to check out, beside the files at the top; empty: everything

	User      string // of an HTTP URL; default: that of the URL, or oauth2, which servers take beside a token; of an SSH URL without one, git
	UserFile  string // holds User, where it may be a secret, as where people put a token in its place; it is removed with TokenFile
	TokenFile string // holds the token or password of an HTTP URL, or the private key of an SSH one
	KeepToken bool   // leave TokenFile in its place; otherwise it is removed after a clone that succeeded

	SSHKeyFile     string // a private key in a form that ssh knows, without a passphrase; for submodules too
	KnownHostsFile string // the keys of SSH servers, as ssh-keyscan prints them
	CAFile         string // certificates in PEM to trust beside the system's

	// Again takes what a clone with Again has left in Dir for this one, if that got to its end and was of the same URL, branch and commit: for a container that may be started
	// twice, and whose token is gone the second time.
	Again bool

	Policy   giturl.Policy
	Timeout  time.Duration // of the whole; 0 is DefaultTimeout
	Progress io.Writer     // takes what Git says meanwhile, masked; nil: nobody

	// Helper is the program, with its first arguments, that Git asks for the token: it has to call Credential with the two arguments
	// that follow these. Empty: the running program with the argument git-credential, as the command wharf has it.
	Helper []string

	limits limits
}

// limits are what tests shorten.
type limits struct {
	idle    time.Duration // how long a transfer may stand still
	connect time.Duration // how long SSH may take to connect
	ask     time.Duration // for what only makes an error better
	redraw  time.Duration // between two states of a progress display
	die     time.Duration // how long Git's output may stay open after it has ended
}

var defaults = limits{idle: 2 * time.Minute, connect: 30 * time.Second, ask: 15 * time.Second, redraw: 5 * time.Second, die: 5 * time.Second}

// Result is what was cloned.
type Result struct {
	Commit string // that of HEAD
	Branch string // the local branch that HEAD is on
}

// Clone clones. The error is an *Error, whatever failed; the directory is then left as it was found. A clone that was killed is begun anew
// by the next one into the same directory. Cancelling ctx kills Git.
func Clone(ctx context.Context, o Options) (Result, error) {
	if r, done := doneBefore(o); done {
		return r, nil
	}
	c, err := newCloner(o)
	if err != nil {
		return Result{}, c.fail(ctx, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errTimeout)
	defer cancel()
	r, err := c.run(ctx)
	if err != nil {
		return Result{}, c.fail(ctx, err)
	}
	return r, nil
}

// cloner clones once.
type cloner struct {
	o       Options
	asked   string     // a sum of the options as they were given, for Options.Again
	url     giturl.URL // as Git gets it: an SSH one has a user, an HTTP one has none
	git     string     // the program
	private string     // a directory for what Git needs to know and others must not
	secret  secret
	out     *progress
	config  []string // Git's settings: key, value, key, value …
	ssh     string   // the command
	madeDir bool     // the directory was not there
}

// newCloner checks the options. It changes nothing.
func newCloner(o Options) (*cloner, error) {
	c := &cloner{o: o, asked: asked(&o)}
	if c.o.Timeout == 0 {
		c.o.Timeout = DefaultTimeout
	}
	if c.o.Depth == 0 {
		c.o.Depth = 1
	}
	if c.o.limits == (limits{}) {
		c.o.limits = defaults
	}
	if err := c.check(); err != nil {
		return c, err
	}
	for _, p := range []struct {
		name   string
		needed bool
		reason Reason
	}{{"git", true, NoGit}, {"git-lfs", c.o.LFS, NoLFS}, {"ssh", c.url.Scheme == giturl.SSH, NoSSH}} {
		if path, err := exec.LookPath(p.name); err != nil && p.needed {
			return c, &Error{Reason: p.reason, Err: err}
		} else if p.name == "git" {
			c.git = path
		}
	}
	err := c.readSecret()
	c.out = &progress{w: o.Progress, secrets: c.secret.mask(), redraw: c.o.limits.redraw}
	return c, err
}

// check checks what can be without looking anywhere.
func (c *cloner) check() error {
	u, err := giturl.Parse(c.o.URL)
	if err != nil {
		return invalid(err)
	}
	c.url = u
	if err := c.o.Policy.Validate(); err != nil {
		return invalid(err)
	}
	if err := c.o.Policy.Check(u); err != nil {
		return &Error{Reason: NotAllowed, Err: err}
	}
	if c.o.Branch != "" {
		err = giturl.ValidBranch(c.o.Branch)
	}
	if err == nil && c.o.Commit != "" {
		err = giturl.ValidCommit(c.o.Commit)
	}
	switch {
	case err != nil:
	case c.o.Depth < All:
		err = fmt.Errorf("the depth is %d: it must be positive, or %d for all", c.o.Depth, All)
	case c.o.Timeout < 0:
		err = errors.New("the time limit must be positive")
	case c.o.Dir == "":
		err = errors.New("there is no directory to clone into")
	}
	if err != nil {
		return invalid(err)
	}
	if c.o.Dir, err = filepath.Abs(c.o.Dir); err != nil {
		return invalid(err)
	}
	return c.checkSparse()
}

// run clones, and leaves only the clone, or nothing.
func (c *cloner) run(ctx context.Context) (r Result, err error) {
	if err := c.claimDir(); err != nil {
		return Result{}, err
	}
	defer func() {
		if err != nil {
			c.tell(c.clearDir())
		}
	}()
	defer func() { c.tell(c.removePrivate()) }()
	if err := c.makePrivate(); err != nil {
		return Result{}, err
	}
	if err := c.checkVersion(ctx); err != nil {
		return Result{}, err
	}
	if c.o.Branch == "" {
		if err := c.askBranch(ctx); err != nil {
			return Result{}, err
		}
	}
	c.out.say("cloning branch %s of %s", c.o.Branch, c.url)
	commit, err := c.fetch(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := c.checkout(ctx, commit); err != nil {
		return Result{}, err
	}
	if c.o.Submodules {
		if err := c.submodules(ctx, c.o.Dir, ""); err != nil {
			return Result{}, err
		}
	}
	r = Result{Commit: commit, Branch: c.o.Branch}
	if err := c.finish(r); err != nil {
		return Result{}, err
	}
	c.out.say("cloned commit %s", commit)
	return r, nil
}

// tell says that something stays that should have gone.
func (c *cloner) tell(err error) {
	if err != nil {
		c.out.say("%v", err)
	}
}

// checkout puts HEAD on the local branch and fills the directory.
func (c *cloner) checkout(ctx context.Context, commit string) error {
	branch := "refs/heads/" + c.o.Branch
	if _, err := c.local(ctx, c.o.Dir, "update-ref", branch, commit); err != nil {
		return err
	}
	if _, err := c.local(ctx, c.o.Dir, "symbolic-ref", "HEAD", branch); err != nil {
		return err
	}
	if err := c.sparsePaths(ctx); err != nil {
		return err
	}
	if err := c.lfsAllowed(ctx, c.o.Dir); err != nil {
		return err
	}
	_, err := c.call(ctx, command{dir: c.o.Dir, network: len(c.o.Sparse) > 0, smudge: c.o.LFS, args: []string{"checkout", "--progress", "--force", "HEAD", "--"}})
	return err
}

// fields returns those of output in which a null character ends each.
func fields(out string) []string {
	out = strings.TrimSuffix(out, "\x00")
	if out == "" {
		return nil
	}
	return strings.Split(out, "\x00")
}
