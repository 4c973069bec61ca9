package cli

import (
	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
)

// newServeDriver is the process outside of a container that has the driver of the process inside.
func newServeDriver() *cobra.Command {
	return &cobra.Command{
		Use:    "serve-driver URL",
		Short:  "Have a driver for the process that has started this one",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := drivers.Serve(cmd.Context(), args[0]); err != nil {
				return trouble(err)
			}
			return nil
		},
	}
}
