package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/provisioner/clone"
	"github.com/wharfci/wharf/provisioner/report"
)

// cloning is how a repository is cloned.
type cloning struct {
	clone.Options
	report bool
}

func newClone() *cobra.Command {
	var c cloning
	cmd := &cobra.Command{
		Use:   "clone URL directory",
		Short: "Clone one commit of a repository",
		Long: `Brings one commit of a repository into a directory, with git, as before a worker
starts. URLs are https, ssh, or user@host:path; neither Git's configuration on this
machine nor its prompts have a part in it.

A token, or an SSH key, comes in a file. When the clone has succeeded that file is
REMOVED, so that no step of the build can read it; --keep-token leaves it.`,
		Example: `  wharf clone https://github.com/wharfci/wharf wharf
  wharf clone --branch main --token-file token https://git.example.com/group/name src
  wharf clone --ssh-key id_ed25519 --known-hosts hosts git@git.example.com:group/name src`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: directories,
		RunE: interruptible(func(ctx context.Context, args []string) error {
			c.URL, c.Dir = args[0], args[1]
			return c.run(ctx)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&c.Branch, "branch", "b", "", "the `branch` (default: the one that the repository names)")
	f.StringVar(&c.Commit, "commit", "", "the whole `hash` of a commit of the branch (default: its newest)")
	f.Var((*depth)(&c.Depth), "depth", "how many commits of the history: a `number`, or all (default: 1)")
	f.BoolVar(&c.Submodules, "submodules", false, "also clone submodules, and theirs")
	f.BoolVar(&c.LFS, "lfs", false, "also fetch what Git LFS keeps")
	f.StringArrayVar(&c.Sparse, "sparse", nil, "check out only this `directory`, and the files at the top (repeatable)")
	f.StringVarP(&c.User, "user", "u", "", "the `name` that goes with the token (default: that of the URL, or oauth2)")
	f.StringVar(&c.UserFile, "user-file", "", "`file` with the name, where it may be a secret; it is removed in the end")
	f.StringVar(&c.TokenFile, "token-file", "", "`file` with the token, or the private key for an SSH URL; it is removed in the end")
	f.BoolVar(&c.KeepToken, "keep-token", false, "leave the file with the token")
	f.StringVar(&c.SSHKeyFile, "ssh-key", "", "`file` with a private key without a passphrase; it stays")
	f.StringVar(&c.KnownHostsFile, "known-hosts", "", "`file` with the keys of SSH servers, as ssh-keyscan prints them")
	f.StringVar(&c.CAFile, "ca", "", "`file` with certificates to trust beside the system's, in PEM")
	f.StringArrayVar(&c.Policy.Allow, "allow", nil, "clone only what this `pattern` matches, submodules too: github.com, *.example.com, https://example.com/group/* (repeatable)")
	f.BoolVar(&c.Policy.HTTP, "allow-http", false, "also clone by HTTP without TLS, which everybody on the way can read and change")
	f.DurationVar(&c.Timeout, "timeout", clone.DefaultTimeout, "how long it may take")
	f.BoolVar(&c.Again, "again", false, "take a clone of the same that an earlier --again has completed in the directory for this one")
	f.BoolVar(&c.report, "report", false, "print what happens to standard output, as lines of JSON for a program")
	return cmd
}

// run clones, and reports it.
func (c *cloning) run(ctx context.Context) error {
	c.Progress = os.Stderr
	if err := c.tell(report.Line{State: report.Cloning}); err != nil {
		return err
	}
	r, err := clone.Clone(ctx, c.Options)
	if err != nil {
		told := c.tell(report.Line{State: report.Failed, Reason: err.Error()})
		if errors.Is(err, clone.Invalid) || errors.Is(err, clone.NotAllowed) || errors.Is(err, clone.NotEmpty) {
			return wrong(errors.Join(err, told))
		}
		return trouble(errors.Join(err, told))
	}
	return c.tell(report.Line{State: report.Cloned, Commit: r.Commit, Branch: r.Branch})
}

// tell reports a state to the program that started the container.
func (c *cloning) tell(l report.Line) error {
	if !c.report {
		return nil
	}
	if err := report.Write(os.Stdout, l); err != nil {
		return trouble(fmt.Errorf("--report: %w", err))
	}
	return nil
}

// depth is a flag that takes a number of commits.
type depth int

func (d *depth) Type() string { return "number" }

func (d *depth) String() string {
	switch *d {
	case 0:
		return ""
	case clone.All:
		return "all"
	}
	return strconv.Itoa(int(*d))
}

func (d *depth) Set(s string) error {
	n, err := strconv.Atoi(s)
	switch {
	case s == "all":
		n = clone.All
	case err != nil || n < 1:
		return errors.New("must be a number from 1 on, or all")
	}
	*d = depth(n)
	return nil
}

// newGitCredential is what Git calls when "wharf clone" has it ask for a token.
func newGitCredential() *cobra.Command {
	return &cobra.Command{
		Use:                "git-credential",
		Short:              "Answer Git's question for the token of a clone",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := clone.Credential(args, os.Stdin, os.Stdout); err != nil {
				return trouble(err)
			}
			return nil
		},
	}
}
