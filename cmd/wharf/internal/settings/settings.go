// Package settings fills in the flags of a service from the environment and from a file. What the command line says counts most, then the environment, then the file.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// Fill sets the flags that the command line has not set: --some-flag from PREFIX_SOME_FLAG, or else from "some-flag" in a YAML file, if path is not empty. A flag that may be given
// several times takes a list there, and commas in the environment. The flags named in except are for the command line alone.
func Fill(flags *pflag.FlagSet, prefix, path string, except ...string) error {
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	from, err := read(path)
	if err != nil {
		return err
	}
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		values, inFile := from[f.Name]
		delete(from, f.Name)
		if f.Name == "help" || slices.Contains(except, f.Name) {
			if inFile {
				errs = append(errs, fmt.Errorf("%s: %s cannot stand in a file", path, f.Name))
			}
			return
		}
		if given[f.Name] {
			return
		}
		where := path + ": " + f.Name
		if text, set := os.LookupEnv(Variable(prefix, f.Name)); set && text != "" {
			where, values, inFile = "$"+Variable(prefix, f.Name), []string{text}, true
			if strings.HasSuffix(f.Value.Type(), "Array") {
				values = strings.Split(text, ",")
			}
		}
		if !inFile {
			return
		}
		if len(values) != 1 && !strings.HasSuffix(f.Value.Type(), "Array") {
			errs = append(errs, fmt.Errorf("%s: must be one value", where))
			return
		}
		for _, v := range values {
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", where, errors.Unwrap(err)))
			}
		}
	})
	for name := range from {
		errs = append(errs, fmt.Errorf("%s: there is no setting %q%s", path, name, similar(flags, name)))
	}
	return errors.Join(errs...)
}

// Variable is the name of the variable of a flag.
func Variable(prefix, flag string) string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// read reads a file of settings: a map of names to a value or a list.
func read(path string) (map[string][]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file map[string]yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: must be a map of settings to values: %w", path, err)
	}
	settings := map[string][]string{}
	for name, node := range file {
		nodes := []*yaml.Node{&node}
		if node.Kind == yaml.SequenceNode {
			nodes = node.Content
		}
		settings[name] = []string{}
		for _, n := range nodes {
			if n.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("%s:%d: %s: must be a value, or a list of values", path, n.Line, name)
			}
			settings[name] = append(settings[name], n.Value)
		}
	}
	return settings, nil
}

func similar(flags *pflag.FlagSet, name string) string {
	best, distance := "", 3
	flags.VisitAll(func(f *pflag.Flag) {
		if d := levenshtein.Distance(f.Name, name, nil); d < distance {
			best, distance = f.Name, d
		}
	})
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}
