package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/builds"
	"github.com/wharfci/wharf/cmd/wharf/internal/target"
	"github.com/wharfci/wharf/pipeline"
)

// whichBuild is how commands describe the build that they take as an argument.
const whichBuild = `The build is named by its ID or the beginning of one, by its results directory, or
by the address of its worker ("host:port", or "tls://host:port"), which wants a
token (--token-file, or $WHARF_WORKER_TOKEN). Without a name it is the newest build
of the project in this directory.`

// targeted are the flags of a command that reads a build or acts on it.
type targeted struct {
	tokenFile, ca string
}

func (t *targeted) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.tokenFile, "token-file", "", "`file` with the worker's token, for a build that is named by an address (default: $WHARF_WORKER_TOKEN)")
	f.StringVar(&t.ca, "ca", "", "`file` with the certificates that a worker's certificate is checked against, in PEM")
	cmd.ValidArgsFunction = buildIDs
}

// open finds the build that the arguments name.
func (t *targeted) open(ctx context.Context, args []string) (*target.Target, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	token, err := readToken(t.tokenFile)
	if err != nil {
		return nil, wrong(err)
	}
	if token != "" && t.ca == "" && name != "" && !strings.Contains(name, "://") && strings.Contains(name, ":") && !loopback(name) {
		warn(os.Stderr, "the token goes to %s unencrypted; a worker with a certificate is named tls://%s", name, name)
	}
	found, err := target.Open(ctx, name, target.Remote{Token: token, CA: t.ca})
	if errors.Is(err, target.ErrUnasked) {
		return nil, trouble(err)
	}
	if err != nil {
		return nil, wrong(err)
	}
	return found, nil
}

// openStep finds the build, with its plan, and the step that step names; that is then its ID.
func (t *targeted) openStep(ctx context.Context, args []string, step *string) (*target.Target, *pipeline.Plan, error) {
	found, err := t.open(ctx, args)
	if err != nil {
		return nil, nil, err
	}
	plan, err := found.Plan(ctx)
	if err != nil {
		err = unreadable(err)
	} else if *step, err = stepID(plan, *step); err != nil {
		err = wrong(err)
	}
	if err != nil {
		found.Close()
		return nil, nil, err
	}
	return found, plan, nil
}

// buildIDs completes the IDs of builds that are kept.
func buildIDs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	store, err := builds.Open()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := store.All()
	var ids []string
	for i := len(all) - 1; i >= 0; i-- {
		ids = append(ids, all[i].ID+"\t"+all[i].Project)
	}
	return ids, cobra.ShellCompDirectiveKeepOrder
}

// unreadable is the error of results that cannot be read: who names a directory without any has made a mistake.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return wrong(err)
	}
	return trouble(err)
}
