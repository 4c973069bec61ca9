// Package settings fills in the flags of a service from the environment and from a file. What the command line says counts most, then the environment, then the file.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
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
		s, inFile := from[f.Name]
		delete(from, f.Name)
		if f.Name == "help" || slices.Contains(except, f.Name) {
			if inFile {
				errs = append(errs, fmt.Errorf("%s: %s cannot stand in a file", s.where, f.Name))
			}
			return
		}
		if given[f.Name] {
			return
		}
		list := strings.HasSuffix(f.Value.Type(), "Array")
		name := f.Name
		if text, set := os.LookupEnv(Variable(prefix, f.Name)); set && text != "" {
			inFile, s, name = true, setting{where: "$" + Variable(prefix, f.Name), values: []string{text}}, ""
			if list {
				s.values = strings.Split(text, ",")
			}
		}
		if inFile {
			errs = append(errs, s.apply(flags, f, name, list))
		}
	})
	for _, name := range slices.Sorted(maps.Keys(from)) {
		errs = append(errs, fmt.Errorf("%s: there is no setting %q%s", from[name].where, name, similar(flags, name)))
	}
	return errors.Join(errs...)
}

// setting is what a file or the environment says of a flag.
type setting struct {
	where  string // path:line, or $VARIABLE
	values []string
	list   bool
}

// apply sets the flag. name is shown behind where, if that does not have it.
func (s *setting) apply(flags *pflag.FlagSet, f *pflag.Flag, name string, list bool) error {
	where := s.where
	if name != "" {
		where += ": " + name
	}
	if !list && (s.list || len(s.values) != 1) {
		return fmt.Errorf("%s: must be one value", where)
	}
	var errs []error
	for _, v := range s.values {
		err := flags.Set(f.Name, v)
		var invalid *pflag.InvalidValueError
		if errors.As(err, &invalid) {
			err = Wrong(invalid)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q: %w", where, v, err))
		}
	}
	return errors.Join(errs...)
}

// Wrong says what is wrong with a flag's value, in words for a person rather than those of Go.
func Wrong(err *pflag.InvalidValueError) error {
	switch err.GetFlag().Value.Type() {
	case "int":
		return errors.New("must be a whole number")
	case "float64":
		return errors.New("must be a number")
	case "bool":
		return errors.New("must be true or false")
	case "duration":
		if _, not := strconv.Atoi(err.GetValue()); not == nil {
			return errors.New("must have a unit, such as 90s, 30m or 1h30m")
		}
		return errors.New("must be a time such as 90s, 30m or 1h30m")
	}
	return err.Unwrap()
}

// Variable is the name of the variable of a flag.
func Variable(prefix, flag string) string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// read reads a file of settings: a map of names to a value or a list.
func read(path string) (map[string]setting, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err = d.Decode(&doc)
	if errors.Is(err, io.EOF) { // it is empty
		return nil, nil
	}
	if err == nil && !errors.Is(d.Decode(&more), io.EOF) {
		err = errors.New("must be one YAML document")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root := doc.Content[0]
	if root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: must be a map of settings to values, such as \"limit: 20\"", path, root.Line)
	}
	settings := map[string]setting{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, node := root.Content[i], root.Content[i+1]
		s := setting{where: fmt.Sprintf("%s:%d", path, name.Line)}
		if _, twice := settings[name.Value]; twice {
			return nil, fmt.Errorf("%s: %s is given twice", s.where, name.Value)
		}
		nodes := []*yaml.Node{node}
		if node.Kind == yaml.SequenceNode {
			nodes, s.list = node.Content, true
		}
		for _, n := range nodes {
			if n.Kind == yaml.AliasNode {
				n = n.Alias
			}
			if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
				return nil, fmt.Errorf("%s:%d: %s: must be a value, or a list of values", path, n.Line, name.Value)
			}
			s.values = append(s.values, n.Value)
		}
		settings[name.Value] = s
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
