// Package cli is the command line of wharf: it reads arguments, calls the packages that do the work, and
// turns their errors into words and exit codes.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wharfci/wharf/cmd/wharf/internal/settings"
	"github.com/wharfci/wharf/cmd/wharf/internal/text"
)

// The exit codes of every command.
const (
	exitOK        = 0
	exitFailed    = 1   // the build failed
	exitUsage     = 2   // wrong use, or a wrong definition
	exitTrouble   = 3   // the runtime, or this machine
	exitCancelled = 130 // as a shell reports an interrupt
)

// exit is an error with the exit code that it ends the program with.
type exit struct {
	code int
	err  error // nil: everything has been said
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// wrong is the error of a wrong use or definition, trouble that of a runtime or of this machine.
func wrong(err error) error   { return &exit{exitUsage, err} }
func trouble(err error) error { return &exit{exitTrouble, err} }

// Main runs the command that the arguments name and returns the exit code.
func Main(args []string) (code int) {
	defer func() {
		if p := recover(); p != nil {
			code = exitTrouble
			warn(os.Stderr, "a mistake in wharf itself: %v", p)
			if os.Getenv("WHARF_DEBUG") != "" {
				os.Stderr.Write(debug.Stack())
			} else {
				warn(os.Stderr, "please report it, with what WHARF_DEBUG=1 adds")
			}
		}
	}()
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	var e *exit
	if !errors.As(err, &e) { // cobra's own: all about usage
		e = &exit{exitUsage, seeHelp(err, cmd)}
	}
	if e.err != nil {
		warn(os.Stderr, "%s", strings.TrimRight(e.err.Error(), "\n"))
	}
	return e.code
}

// seeHelp adds where a command says what it takes.
func seeHelp(err error, cmd *cobra.Command) error {
	return fmt.Errorf("%w\nRun \"%s --help\" for what it knows.", err, cmd.CommandPath())
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "wharf",
		Short: "Run builds on any container runtime",
		Long: `Wharf runs the build that a .wharf-ci.yml describes, in containers, on whatever
container runtime is at hand.

Exit codes: 0 succeeded, 1 the build failed, 2 wrong use or definition,
3 trouble with the runtime or this machine, 130 cancelled.`,
		Example: `  wharf run                        build what is in this directory
  wharf run --stage test ../shop   only one stage, of another directory
  wharf lint                       check the definition
  wharf doctor                     which container runtimes there are`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          subcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault)
	root.AddCommand(newRun(), newWorker(), newProvisioner(), newAggregator(), newWatchdog(), newPS(), newLogs(), newArtifacts(), newCancel(), newRelease(), newTimeline(), newLint(), newVars(), newDoctor(), newConformance(), newGC(), newClone(), newGitCredential(), newServeDriver(), newHelperImage(), newSchema(), newVersion())
	root.SetHelpCommand(newHelp())
	addCompletion(root)
	root.Version = self().String()
	root.SetVersionTemplate("{{.Version}}\n")
	return root
}

// subcommand refuses arguments of a command that only has commands below it, and says which was probably meant.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		err = fmt.Errorf("%w\n\nDid you mean this?\n\t%s\n", err, strings.Join(similar, "\n\t"))
	}
	return err
}

// flagError says of a value what would be right, and of an unknown flag which one was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		return badValue(value)
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return err
	}
	best, distance := "", 3
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := levenshtein.Distance(f.Name, unknown.GetSpecifiedName(), nil); d < distance {
			best, distance = f.Name, d
		}
	})
	if best == "" {
		return err
	}
	return fmt.Errorf("%w\n\nDid you mean this?\n\t--%s\n", err, best)
}

// badValue is the error of a flag's value in words of wharf rather than of Go.
func badValue(err *pflag.InvalidValueError) error {
	return fmt.Errorf("--%s %q: %w", err.GetFlag().Name, err.GetValue(), settings.Wrong(err))
}

// outputFlag adds --output with its allowed values, the first of which is the default.
func outputFlag(cmd *cobra.Command, values ...string) *choice {
	c := &choice{values: values, value: values[0]}
	cmd.Flags().VarP(c, "output", "o", "how to print: "+strings.Join(values, ", "))
	complete(cmd, "output", func(*cobra.Command, string) []string { return values })
	return c
}

// choice is a flag that takes one of some words.
type choice struct {
	values []string
	value  string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "word" }
func (c *choice) Set(s string) error {
	for _, v := range c.values {
		if v == s {
			c.value = s
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(c.values, ", "))
}

// warn prints what a person should know and what stops nothing.
func warn(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, shownAs("wharf: "+fmt.Sprintf(format, args...)))
}

// shownAs makes words of one or more lines, in which those of a definition or of a runtime may be quoted, safe to show.
func shownAs(words string) string {
	lines := strings.Split(words, "\n")
	for i, line := range lines {
		lines[i] = string(text.Append(nil, []byte(strings.ReplaceAll(line, "\r", "")), text.Options{}))
	}
	return strings.Join(lines, "\n")
}
