package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/pipeline"
)

func newVars() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vars",
		Short: "Show variables and what they become",
		Example: `  wharf vars list --environment stage
  wharf vars sub deploy.tmpl.yml > deploy.yml
  wharf vars yml`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newVarsList(), newVarsSub(), newVarsYML())
	return cmd
}

func newVarsList() *cobra.Command {
	var c choices
	var all bool
	cmd := &cobra.Command{
		Use:   "list [directory]",
		Short: "List the variables that steps see, and where each comes from",
		Example: `  wharf vars list
  wharf vars list --environment stage --all`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: directories,
	}
	c.addTo(cmd)
	output := outputFlag(cmd, "text", "json")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also list what is defined elsewhere and does not count")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withProject(cmd, args, &c, func(p *project, opts pipeline.Options) error {
			vars, err := p.def.Variables(opts)
			if err != nil {
				return wrong(invalid{err})
			}
			conceal(vars)
			if output.value == "json" {
				return printJSON(vars)
			}
			return listVars(os.Stdout, vars, all)
		})
	}
	return cmd
}

// withProject calls f with the project that the arguments name and the options that the choices make.
func withProject(cmd *cobra.Command, args []string, c *choices, f func(*project, pipeline.Options) error) error {
	p, err := load(directory(args))
	if err != nil {
		return err
	}
	defer p.Close()
	opts, err := p.options(cmd.Context(), c)
	if err != nil {
		return err
	}
	return f(p, opts)
}

// conceal takes the values of secrets away.
func conceal(vars []pipeline.Variable) {
	for i := range vars {
		if vars[i].Secret {
			vars[i].Value = pipeline.StringValue("***")
		}
		conceal(vars[i].Shadows)
	}
}

func listVars(w io.Writer, vars []pipeline.Variable, all bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tFROM")
	for _, v := range vars {
		fmt.Fprintf(table, "%s\t%s\t%s\n", text.Line(v.Name), shown(v.Value.Text), from(v.Source))
		for _, s := range v.Shadows {
			if all {
				fmt.Fprintf(table, "  not\t%s\t%s\n", shown(s.Value.Text), from(s.Source))
			}
		}
	}
	if err := table.Flush(); err != nil {
		return trouble(err)
	}
	return nil
}

// shown is a value on one line; what could not be told apart is quoted.
func shown(value string) string {
	if value == "" || value != strings.TrimSpace(value) || value != text.Line(value) {
		return fmt.Sprintf("%q", value)
	}
	return value
}

func from(s pipeline.Source) string {
	if s.Detail == "" {
		return string(s.Origin)
	}
	return string(s.Origin) + " " + text.Line(s.Detail)
}

func newVarsSub() *cobra.Command {
	var c choices
	var dir string
	cmd := &cobra.Command{
		Use:     "sub [file]",
		Aliases: []string{"substitute"},
		Short:   "Print a file, or standard input, with its variables substituted",
		Example: `  wharf vars sub deploy.tmpl.yml > deploy.yml
  echo 'on ${GIT_BRANCH}' | wharf vars sub`,
		Args: cobra.MaximumNArgs(1),
	}
	c.addTo(cmd)
	cmd.Flags().StringVarP(&dir, "directory", "C", ".", "directory of the definition")
	complete(cmd, "directory", func(*cobra.Command, string) []string { return nil })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withProject(cmd, []string{dir}, &c, func(p *project, opts pipeline.Options) error {
			name, in := "standard input", io.Reader(os.Stdin)
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return wrong(err)
				}
				defer f.Close()
				name, in = args[0], f
			}
			return substitute(p, opts, name, in)
		})
	}
	return cmd
}

func substitute(p *project, opts pipeline.Options, name string, in io.Reader) error {
	src, err := io.ReadAll(in)
	if err != nil {
		return trouble(fmt.Errorf("reading %s: %w", name, err))
	}
	out, warnings, err := p.def.Expand(opts, name, string(src))
	if err != nil {
		return wrong(err)
	}
	for _, w := range warnings {
		warn(os.Stderr, "warning: %v", w)
	}
	if _, err := io.WriteString(os.Stdout, out); err != nil {
		return trouble(err)
	}
	return nil
}

func newVarsYML() *cobra.Command {
	var c choices
	cmd := &cobra.Command{
		Use:               "yml [directory]",
		Aliases:           []string{"yaml"},
		Short:             "Print the definition with its variables substituted",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: directories,
	}
	c.addTo(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withProject(cmd, args, &c, func(p *project, opts pipeline.Options) error {
			out, err := p.def.Render(opts)
			if err != nil {
				return wrong(invalid{err})
			}
			if _, err := os.Stdout.Write(out); err != nil {
				return trouble(err)
			}
			return nil
		})
	}
	return cmd
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return trouble(err)
	}
	return nil
}
