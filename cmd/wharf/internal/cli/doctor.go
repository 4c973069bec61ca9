package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show which container runtimes there are, and how to mend them",
		Args:  cobra.NoArgs,
	}
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		reports := drivers.Inspect(cmd.Context())
		if output.value == "json" {
			if err := printJSON(map[string]any{"runtimes": reports}); err != nil {
				return err
			}
		} else if err := printReports(os.Stdout, reports); err != nil {
			return trouble(err)
		}
		for _, r := range reports {
			if r.State == drivers.Works {
				return nil
			}
		}
		return trouble(fmt.Errorf("no container runtime can be used"))
	}
	return cmd
}

func printReports(w io.Writer, reports []drivers.Report) error {
	for _, r := range reports {
		lines := []string{string(r.State)}
		add := func(label, value string) {
			if value != "" {
				lines = append(lines, fmt.Sprintf("%-8s %s", label, value))
			}
		}
		add("is", r.Runtime)
		if r.OS != "" {
			add("runs", r.OS+"/"+r.Arch)
		}
		add("at", r.Where)
		add("can", strings.Join(r.Can, ", "))
		add("cannot", strings.Join(r.Cannot, ", "))
		add("problem", r.Problem)
		add("try", r.Mend)
		if _, err := fmt.Fprintf(w, "%-11s %s\n", r.Name, strings.Join(lines, "\n            ")); err != nil {
			return err
		}
	}
	return nil
}
