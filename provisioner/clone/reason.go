package clone

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Reason is a class of failure. It is an error, so that errors.Is(err, clone.NoBranch) asks for it.
type Reason string

// The reasons.
const (
	Invalid      Reason = "invalid"              // an option is wrong; nothing was done
	NotAllowed   Reason = "not-allowed"          // the policy forbids the URL, or that of a submodule or of Git LFS
	NotEmpty     Reason = "directory-not-empty"  // there is something in the directory already
	NoGit        Reason = "git-missing"          // the program git is not installed, or older than 2.32
	NoSSH        Reason = "ssh-missing"          // the program ssh is not installed
	NoLFS        Reason = "lfs-missing"          // the program git-lfs is not installed
	NoHost       Reason = "host-not-found"       // the server's name has no address
	Unreachable  Reason = "unreachable"          // nothing takes connections there
	Certificate  Reason = "certificate"          // the server's certificate is not trusted
	HostKey      Reason = "host-key"             // the SSH server's key is unknown, or another one
	Auth         Reason = "authentication"       // the server wants a credential, or another one
	PublicKey    Reason = "public-key"           // the SSH server does not accept the key
	NoRepository Reason = "repository-not-found" // the server does not know it, or does not show it
	NoBranch     Reason = "branch-not-found"     // the repository has no such branch
	NoCommit     Reason = "commit-not-reachable" // the branch does not contain the commit
	NoPath       Reason = "path-not-found"       // a sparse path is no directory of the commit
	Redirect     Reason = "redirect"             // the server sends elsewhere
	TooSlow      Reason = "too-slow"             // a transfer stood still, or the time limit has passed
	Protocol     Reason = "protocol"             // the server does not speak Git's protocol, or broke off
	DiskFull     Reason = "disk-full"            // there is no room
	Cancelled    Reason = "cancelled"            // the context has ended
	Other        Reason = "other"                // anything else
)

func (r Reason) Error() string { return r.headline() }

// headline is what a person should know first.
func (r Reason) headline() string {
	if h := about[r].headline; h != "" {
		return h
	}
	return "it failed"
}

// about is what there is to say of each reason: what happened, and what will probably mend it.
var about = map[Reason]struct{ headline, mend string }{
	Invalid:    {headline: "wrong use"},
	NotAllowed: {headline: "the URL is not allowed"},
	NotEmpty:   {"the directory is not empty", "Give an empty directory, or one that is not there yet."},
	NoGit:      {"git is not installed, or is too old", "Install Git 2.32 or newer where the clone runs, or use an image that has it."},
	NoSSH:      {"ssh is not installed, or does not start", "Install an OpenSSH client (Debian: openssh-client) where the clone runs, or use an https URL."},
	NoLFS:      {"Git LFS is not installed", "Install git-lfs where the clone runs, or clone without LFS: its pointers then stay in the files' places."},
	NoHost:     {"the server was not found", "Check the name in the URL, and that names are resolved where the clone runs."},
	Unreachable: {"nothing answers at the server's address",
		"Check host and port in the URL, and that a firewall or proxy lets connections from here pass."},
	Certificate: {"the server's certificate is not trusted",
		"Give the certificate of the authority that issued it as a CA file. If it has expired, or is for another name, it has to be mended on the server."},
	HostKey: {"the SSH server's host key is not known",
		"Put it into the known hosts file: \"ssh-keyscan HOST\" (with -p PORT before HOST if there is one) prints it; compare it with what the server's operator publishes. If it has changed and nobody says why, someone may be in between."},
	Auth: {"the server does not accept the credential", "Check that the token is right, has not expired, and may read this repository."},
	PublicKey: {"the SSH server does not accept the key",
		"Give a private key without a passphrase whose public half the server knows as a key that may read this repository (a deploy key)."},
	NoRepository: {"the repository was not found",
		"Check the URL. Many servers say the same of a repository that the credential may not read, or for which none was given."},
	NoBranch: {"the branch does not exist", "Check its name; it may have been deleted since the build was asked for."},
	NoCommit: {"the branch does not contain the commit", "The branch may have been rewritten since, or the commit is of another one."},
	NoPath:   {"a sparse path is no directory of the commit", "Check the path; it begins at the top of the repository."},
	Redirect: {"the server redirects to another address", "If that is right, use that address as the URL."},
	TooSlow:  {"it takes too long", "The server or the network may be overloaded: try again. A large repository needs a longer time limit."},
	Protocol: {"the server's answer is none of Git's, or broke off",
		"Try again; if it stays so, check that the URL is the one for cloning, and what a proxy in between does."},
	DiskFull:  {"there is no room left", "Make room where the directory or TMPDIR is, or clone less: a smaller depth, or sparse paths."},
	Cancelled: {headline: "it was cancelled"},
	Other:     {headline: "it failed"},
}

// Error is why a clone failed. Its text has several lines, is masked, and is safe for a terminal.
type Error struct {
	Reason Reason
	URL    string   // without credentials; may be empty
	Words  []string // the last lines that Git said; may be empty
	Mend   string   // what would probably help; may be empty
	Err    error    // what is known beside; may be nil
}

// Error tells what failed, Git's words, and the mend.
func (e *Error) Error() string {
	var b strings.Builder
	if e.URL != "" {
		fmt.Fprintf(&b, "cannot clone %s: ", e.URL)
	}
	_, ofGit := e.Err.(*gitError) // whose words follow
	told := e.Err != nil && (!ofGit || e.Reason == Other)
	if e.Reason != Invalid || !told {
		b.WriteString(e.Reason.headline())
		if told {
			b.WriteString(": ")
		}
	}
	if told {
		b.WriteString(e.Err.Error())
	}
	for _, w := range e.Words {
		b.WriteString("\n    git: " + w)
	}
	if e.Mend != "" {
		b.WriteString("\n" + e.Mend)
	}
	return b.String()
}

// Unwrap makes both the reason and the cause known to errors.Is.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

func invalid(err error) error { return &Error{Reason: Invalid, Err: err} }

// fail makes of any error the one that Clone returns.
func (c *cloner) fail(ctx context.Context, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Reason: Other, Err: err}
	}
	made := *e
	switch cause := context.Cause(ctx); {
	case errors.Is(err, errTimeout):
		made.Reason, made.Err = TooSlow, fmt.Errorf("it was not done after %v", c.o.Timeout)
	case made.Reason == "" && cause != nil:
		made.Reason = Cancelled
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		made.Reason = DiskFull
	case made.Reason == "":
		made.Reason = Other
	}
	if made.URL == "" && made.Reason != Invalid {
		made.URL = c.url.String()
	}
	if made.Mend == "" {
		made.Mend = about[made.Reason].mend
	}
	return &made
}
