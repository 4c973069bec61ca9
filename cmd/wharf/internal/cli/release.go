package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func newRelease() *cobra.Command {
	var t targeted
	cmd := &cobra.Command{
		Use:   "release [build]",
		Short: "Let the worker of a build that has ended end",
		Long: `Says that everything of a build that has ended was taken, so that its worker need
not go on serving it, and ends. The results stay where they are.

` + whichBuild,
		Example: `  wharf logs --follow ci-7.internal:7500 --token-file token > log
  wharf artifacts ci-7.internal:7500 --token-file token --download out
  wharf release ci-7.internal:7500 --token-file token`,
		Args: cobra.MaximumNArgs(1),
	}
	t.addTo(cmd)
	cmd.RunE = interruptible(func(ctx context.Context, args []string) error {
		found, err := t.open(ctx, args)
		if err != nil {
			return err
		}
		defer found.Close()
		if err := found.Release(ctx); err != nil {
			return unreadable(err)
		}
		return nil
	})
	return cmd
}
