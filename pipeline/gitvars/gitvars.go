// Package gitvars reads the facts about a Git repository that a build definition can use as variables.
//
// It runs the git command rather than a Git library: the command knows every kind of repository (linked worktrees,
// partial and shallow clones, new ref and object formats) and starts faster than a library can index a large one. Four
// short processes run side by side.
//
// The repository is not trusted. No hook, file system monitor, signature program, pager, credential helper or transport
// that its configuration names is run, and nothing is fetched.
package gitvars

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// The variables that Read can set.
const (
	Branch        = "GIT_BRANCH"                // the checked-out branch
	SafeBranch    = "GIT_SAFEBRANCH"            // the same with hyphens for slashes
	Commit        = "GIT_COMMIT"                // the commit's full hash
	AuthorDate    = "GIT_COMMIT_AUTHOR_DATE"    // ISO 8601
	CommitterDate = "GIT_COMMIT_COMMITTER_DATE" // ISO 8601
	Subject       = "GIT_COMMIT_SUBJECT"        // the first line of the commit's message
	Tag           = "GIT_TAG"                   // the newest tag on the commit by its date, or empty
	RepoBranch    = "REPO_BRANCH"               // the same as Branch
	RepoGroup     = "REPO_GROUP"                // the path of the remote's URL without its last element
	RepoName      = "REPO_NAME"                 // the last element, without ".git"
)

// Read returns the variables of the repository that holds dir. What is not known is left out: the branch of a detached
// HEAD, everything about the commit in a repository without one, the names without a remote, and all of it where there
// is no repository or no git command. An error means that there is a repository that git could not read; cancelling ctx
// ends the processes.
func Read(ctx context.Context, dir string) (map[string]string, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return map[string]string{}, nil
	}
	r := &reader{dir: dir, values: map[string]string{}}
	var wg sync.WaitGroup
	for _, read := range []func(context.Context) error{r.commit, r.branch, r.tag, r.remote} {
		wg.Go(func() {
			if err := read(ctx); err != nil {
				r.fail(err)
			}
		})
	}
	wg.Wait()
	if err := r.failure(ctx); err != nil {
		return nil, err
	}
	return r.values, nil
}

// reader collects the results of the processes.
type reader struct {
	dir    string
	mu     sync.Mutex
	values map[string]string
	errs   []error
	none   bool // there is no repository
}

func (r *reader) set(name, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[name] = value
}

func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g, ok := errors.AsType[*gitError](err); ok && g.noRepository() {
		r.none = true
		return
	}
	r.errs = append(r.errs, err)
}

func (r *reader) failure(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("reading the Git repository of %s: %w", r.dir, ctx.Err())
	case r.none || len(r.errs) == 0:
		return nil
	}
	if g, ok := errors.AsType[*gitError](r.errs[0]); ok && g.unsafe() {
		return fmt.Errorf("git does not trust the repository of %s, since another user owns it; "+
			"allow it with: git config --global --add safe.directory <its directory>: %w", r.dir, g)
	}
	return fmt.Errorf("reading the Git repository of %s: %w", r.dir, r.errs[0])
}

func (r *reader) commit(ctx context.Context) error {
	out, err := git(ctx, r.dir, "log", "-1", "--no-show-signature", "--no-notes", "--encoding=UTF-8", "--no-color",
		"--format=%H%x00%aI%x00%cI%x00%s", "HEAD", "--")
	if g, ok := errors.AsType[*gitError](err); ok && g.noCommit() {
		return nil
	}
	if err != nil {
		return err
	}
	fields := strings.SplitN(strings.TrimSuffix(out, "\n"), "\x00", 4)
	if len(fields) != 4 {
		return fmt.Errorf("git log gave %q", out)
	}
	for i, name := range []string{Commit, AuthorDate, CommitterDate, Subject} {
		r.set(name, strings.ToValidUTF8(fields[i], "\ufffd"))
	}
	return nil
}

func (r *reader) branch(ctx context.Context) error {
	out, err := git(ctx, r.dir, "symbolic-ref", "--quiet", "HEAD")
	if g, ok := errors.AsType[*gitError](err); ok && g.code == 1 {
		return nil // detached
	}
	if err != nil {
		return err
	}
	branch, ok := strings.CutPrefix(strings.TrimSuffix(out, "\n"), "refs/heads/")
	if ok {
		branch = strings.ToValidUTF8(branch, "\ufffd")
		r.set(Branch, branch)
		r.set(RepoBranch, branch)
		r.set(SafeBranch, strings.ReplaceAll(branch, "/", "-"))
	}
	return nil
}

func (r *reader) tag(ctx context.Context) error {
	// The last key is the first to sort by.
	out, err := git(ctx, r.dir, "for-each-ref", "--points-at=HEAD", "--count=1", "--sort=-version:refname",
		"--sort=-creatordate", "--format=%(refname)", "refs/tags")
	if g, ok := errors.AsType[*gitError](err); ok && g.noCommit() {
		return nil
	}
	if err != nil {
		return err
	}
	r.set(Tag, strings.ToValidUTF8(strings.TrimPrefix(strings.TrimSuffix(out, "\n"), "refs/tags/"), "\ufffd"))
	return nil
}

func (r *reader) remote(ctx context.Context) error {
	out, err := git(ctx, r.dir, "config", "--null", "--get-regexp", `^remote\..*\.url$`)
	if g, ok := errors.AsType[*gitError](err); ok && g.code == 1 {
		return nil // no remote
	}
	if err != nil {
		return err
	}
	url := ""
	for entry := range strings.SplitSeq(out, "\x00") {
		key, value, ok := strings.Cut(entry, "\n")
		if ok && (url == "" || key == "remote.origin.url") {
			url = value
		}
		if key == "remote.origin.url" {
			break
		}
	}
	if group, name := splitURL(url); name != "" {
		r.set(RepoName, name)
		r.set(RepoGroup, group)
	}
	return nil
}

// git runs one command and returns its output.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	hardened := []string{
		"-C", dir, "--no-pager", "--no-replace-objects", "--literal-pathspecs",
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.DevNull, "-c", "log.showSignature=false",
		"-c", "log.mailmap=false", "-c", "core.pager=", "-c", "credential.helper=", "-c", "protocol.allow=never",
	}
	cmd := exec.CommandContext(ctx, "git", append(hardened, args...)...)
	cmd.Env = environ(os.Environ())
	var stdout, stderr bounded
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if stdout.full {
		return "", &gitError{args[0], -1, fmt.Sprintf("the output has more than %d bytes", maxOutput), err}
	}
	if err != nil {
		code := -1
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		}
		return "", &gitError{args[0], code, strings.TrimSpace(stderr.String()), err}
	}
	return stdout.String(), nil
}

// maxOutput bounds what is kept of a command's output, since the subject of a commit can be of any length.
const maxOutput = 1 << 20

// bounded keeps the start of what is written to it. It takes the rest too, so that git ends by itself.
type bounded struct {
	strings.Builder
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := maxOutput - b.Len()
	b.full = b.full || len(p) > room
	b.Builder.Write(p[:min(len(p), room)])
	return len(p), nil
}

// environ removes what would make git look at another repository than that of its directory, and adds what keeps it from
// asking, fetching and writing.
func environ(env []string) []string {
	var out []string
	for _, kv := range env {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
			"GIT_PREFIX", "GIT_TRACE", "LANGUAGE", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_GRAFT_FILE",
			"GIT_IMPLICIT_WORK_TREE", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE":
		default:
			out = append(out, kv)
		}
	}
	return append(out, "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=none", "GIT_PAGER=cat", "GIT_ASKPASS=", "SSH_ASKPASS=")
}

// gitError is a git command that failed.
type gitError struct {
	command string
	code    int // the exit code, or -1
	stderr  string
	err     error
}

func (e *gitError) Error() string {
	if e.stderr == "" {
		return fmt.Sprintf("git %s: %v", e.command, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.command, e.stderr)
}

func (e *gitError) Unwrap() error { return e.err }

func (e *gitError) noRepository() bool {
	return strings.Contains(e.stderr, "not a git repository (or any")
}

func (e *gitError) unsafe() bool { return strings.Contains(e.stderr, "dubious ownership") }

func (e *gitError) noCommit() bool {
	return strings.Contains(e.stderr, "bad revision 'HEAD'") || strings.Contains(e.stderr, "malformed object name HEAD") ||
		strings.Contains(e.stderr, "does not have any commits") || strings.Contains(e.stderr, "malformed object name 'HEAD'")
}
