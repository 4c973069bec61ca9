package cli

import (
	"cmp"
	"context"
	"os/user"

	"github.com/spf13/cobra"
)

func newCancel() *cobra.Command {
	var t targeted
	var reason string
	var force bool
	cmd := &cobra.Command{
		Use:   "cancel [build]",
		Short: "Stop a build that runs",
		Long: `Asks the process that runs a build to stop it: what runs gets the grace time to
end; with --force it is killed at once. It returns when that is under way.

` + whichBuild,
		Example: `  wharf cancel
  wharf cancel 06hn2 --force --reason "the branch is gone"`,
		Args: cobra.MaximumNArgs(1),
	}
	t.addTo(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	cmd.Flags().BoolVar(&force, "force", false, "kill what runs")
	cmd.RunE = interruptible(func(ctx context.Context, args []string) error {
		found, err := t.open(ctx, args)
		if err != nil {
			return err
		}
		defer found.Close()
		if err := found.Cancel(ctx, cmp.Or(reason, "cancelled by "+whoami()), force); err != nil {
			return trouble(err)
		}
		return nil
	})
	return cmd
}

// whoami is the user's name, for others to read.
func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "someone"
}
