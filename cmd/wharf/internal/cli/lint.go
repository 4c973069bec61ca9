package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/pipeline"
)

func newLint() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint [directory|file]...",
		Short: "Check definitions",
		Long: `Checks definitions without building anything, and shows every problem with its
place. What would be planned without an environment and for each environment is
checked too.`,
		Example: `  wharf lint
  wharf lint shop/ mail/.wharf-ci.yml
  wharf lint --output json`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	output := outputFlag(cmd, "text", "json")
	cmd.Flags().BoolVar(&strict, "strict", false, "take unknown variables for errors")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			args = []string{"."}
		}
		return lint(cmd.Context(), args, strict, output.value)
	}
	return cmd
}

// linted is what there is to say about one file.
type linted struct {
	File     string          `json:"file"`
	Errors   pipeline.Errors `json:"errors"`
	Warnings pipeline.Errors `json:"warnings"`
}

func lint(ctx context.Context, paths []string, strict bool, output string) error {
	var results []linted
	bad := false
	for _, path := range paths {
		r, err := lintOne(ctx, path, strict)
		if err != nil {
			return err
		}
		bad = bad || len(r.Errors) > 0
		results = append(results, r)
	}
	if err := printLint(os.Stdout, results, output); err != nil {
		return trouble(err)
	}
	if bad {
		return &exit{exitUsage, nil}
	}
	return nil
}

// lintOne checks one file. The error is what keeps it from being read.
func lintOne(ctx context.Context, path string, strict bool) (linted, error) {
	r := linted{Errors: pipeline.Errors{}, Warnings: pipeline.Errors{}}
	if info, err := os.Stat(path); err == nil && !info.IsDir() && filepath.Base(path) != file {
		return r, wrong(fmt.Errorf("%s: a definition is called %s", path, file))
	}
	p, err := load(directory([]string{path}))
	var problems pipeline.Errors
	if errors.As(err, &problems) {
		r.File, r.Errors = problems[0].File, problems
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer p.Close()
	r.File = p.file
	return r, p.lint(ctx, strict, &r)
}

// lint plans the definition in every way, each input having some value, and adds what comes out.
func (p *project) lint(ctx context.Context, strict bool, r *linted) error {
	opts, err := p.options(ctx, &choices{strict: strict})
	if err != nil {
		return err
	}
	for _, in := range p.def.Inputs() {
		if in.Default == nil {
			opts.Inputs[in.Name] = "0" // fits every type but a choice, which has a default
		}
	}
	for _, environment := range append([]string{""}, p.def.Environments()...) {
		opts.Environment = environment
		plan, err := p.def.Plan(opts)
		var problems pipeline.Errors
		if errors.As(err, &problems) {
			r.Errors = merge(r.Errors, problems)
		} else if err != nil {
			return trouble(err)
		} else {
			r.Warnings = merge(r.Warnings, plan.Warnings)
		}
	}
	return nil
}

// merge adds the problems that are not there yet.
func merge(all, more pipeline.Errors) pipeline.Errors {
	for _, e := range more {
		if !slices.ContainsFunc(all, func(have *pipeline.Error) bool { return *have == *e }) {
			all = append(all, e)
		}
	}
	return all
}

func printLint(w io.Writer, results []linted, output string) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"files": results})
	}
	for _, r := range results {
		for _, e := range r.Errors {
			fmt.Fprintln(w, "error: "+e.Error())
		}
		for _, e := range r.Warnings {
			fmt.Fprintln(w, "warning: "+e.Error())
		}
		words := "fine"
		if len(r.Errors)+len(r.Warnings) > 0 {
			words = plural(len(r.Errors), "error") + ", " + plural(len(r.Warnings), "warning")
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", r.File, words); err != nil {
			return err
		}
	}
	return nil
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
