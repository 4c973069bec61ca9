package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/pipeline"
)

// complete sets what the shell offers for a flag.
func complete(cmd *cobra.Command, flag string, values func(cmd *cobra.Command, typed string) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		offered := values(cmd, typed)
		for _, v := range offered {
			if strings.HasSuffix(v, "=") {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
		return offered, directive
	})
	if err != nil {
		panic(err) // the flag does not exist: a mistake in this package, which every test would meet
	}
}

// outline returns the names in the definition of the directory that the command line names so far.
func outline(cmd *cobra.Command) pipeline.Names {
	src, err := read(directory(cmd.Flags().Args()))
	if err != nil {
		return pipeline.Names{}
	}
	return pipeline.Outline(src)
}

// inputValues offers the names of inputs and, once there is one, the values of a choice.
func inputValues(cmd *cobra.Command, typed string) []string {
	name, _, chosen := strings.Cut(typed, "=")
	if !chosen {
		return assigned(outline(cmd).Inputs)
	}
	src, err := read(directory(cmd.Flags().Args()))
	if err != nil {
		return nil
	}
	def, err := pipeline.Parse(file, src)
	if err != nil {
		return nil
	}
	var offered []string
	for _, in := range def.Inputs() {
		for _, v := range in.Values {
			if in.Name == name {
				offered = append(offered, name+"="+v)
			}
		}
	}
	return offered
}

func assigned(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n + "="
	}
	return out
}

// directories offers directories for the argument of a command.
func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
