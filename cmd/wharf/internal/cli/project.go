package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/pipeline/gitvars"
)

// file is the name of a definition; no other is looked for.
const file = ".wharf-ci.yml"

// choices are the flags by which a person chooses what of a definition is built, and with which values.
type choices struct {
	environment  string
	stages       []string
	inputs, vars []string
	strict       bool
}

// addTo adds the flags to a command whose only argument is a directory.
func (c *choices) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.environment, "environment", "e", "", "build for this environment")
	f.StringArrayVarP(&c.inputs, "input", "i", nil, "value of an input, as `name=value` (repeatable)")
	f.StringArrayVar(&c.vars, "var", nil, "value of a variable, as `name=value` (repeatable)")
	f.BoolVar(&c.strict, "strict", false, "take unknown variables for errors")
	complete(cmd, "environment", func(cmd *cobra.Command, _ string) []string { return outline(cmd).Environments })
	complete(cmd, "input", inputValues)
	complete(cmd, "var", func(*cobra.Command, string) []string { return assigned(pipeline.Builtins()) })
}

func (c *choices) addStages(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&c.stages, "stage", "s", nil, "build only this stage (repeatable)")
	complete(cmd, "stage", func(cmd *cobra.Command, _ string) []string { return outline(cmd).Stages })
}

// project is a directory with its definition.
type project struct {
	dir  string // absolute
	file string // as a person would write it
	def  *pipeline.Definition
	root *os.Root
}

// directory returns the directory that an argument names.
func directory(args []string) string {
	if len(args) == 0 {
		return "."
	}
	if filepath.Base(args[0]) == file {
		return filepath.Dir(args[0])
	}
	return args[0]
}

// load reads and checks the definition in a directory. The caller closes the project.
func load(dir string) (*project, error) {
	src, err := read(dir)
	if err != nil {
		return nil, wrong(err)
	}
	p := &project{file: filepath.Join(dir, file)}
	if p.dir, err = filepath.Abs(dir); err != nil {
		return nil, trouble(err)
	}
	if p.def, err = pipeline.Parse(p.file, src); err != nil {
		return nil, wrong(invalid{err})
	}
	if p.root, err = os.OpenRoot(p.dir); err != nil {
		return nil, trouble(err)
	}
	return p, nil
}

func (p *project) Close() error { return p.root.Close() }

// invalid is the error of a definition; each of its problems begins with its place.
type invalid struct{ problems error }

func (e invalid) Error() string {
	n := 1
	var errs pipeline.Errors
	if errors.As(e.problems, &errs) {
		n = len(errs)
	}
	if n == 1 {
		return "the definition cannot be used:\n" + e.problems.Error()
	}
	return fmt.Sprintf("the definition cannot be used, for %d reasons:\n%s", n, e.problems.Error())
}

func (e invalid) Unwrap() error { return e.problems }

// read reads the definition in a directory.
func read(dir string) ([]byte, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no directory %s", dir)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is no directory; give the directory that holds %s", dir, file)
	}
	src, err := pipeline.ReadFile(dir, file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s in %s%s", file, describe(dir), nearby(dir))
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", filepath.Join(dir, file), err)
	}
	return src, nil
}

func describe(dir string) string {
	if dir == "." {
		return "this directory"
	}
	return dir
}

// nearby says where a definition is that was probably meant.
func nearby(dir string) string {
	for _, name := range []string{".wharf-ci.yaml", "wharf-ci.yml", "wharf-ci.yaml", ".wharf.yml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return fmt.Sprintf("; %s must be renamed to %s", name, file)
		}
	}
	abs, err := filepath.Abs(dir)
	for up := ".."; err == nil && filepath.Dir(abs) != abs; up = filepath.Join(up, "..") {
		abs = filepath.Dir(abs)
		if _, err := os.Stat(filepath.Join(abs, file)); err == nil {
			return fmt.Sprintf("; there is one in %s", filepath.Join(dir, up))
		}
	}
	return ""
}

// options gathers what a plan depends on.
func (p *project) options(ctx context.Context, c *choices) (pipeline.Options, error) {
	opts := pipeline.Options{Environment: c.environment, Stages: c.stages, Strict: c.strict, Files: p.root.FS()}
	var err error
	if opts.Inputs, err = pairs("input", c.inputs); err != nil {
		return opts, wrong(err)
	}
	if opts.Vars, err = pairs("var", c.vars); err != nil {
		return opts, wrong(err)
	}
	files, err := pipeline.ReadVarFiles(p.dir, os.Getenv)
	if err != nil {
		return opts, wrong(fmt.Errorf("a file of variables cannot be used:\n%w", err))
	}
	git, err := gitvars.Read(ctx, p.dir)
	if err != nil {
		return opts, trouble(err)
	}
	opts.Layers = append([]pipeline.Layer{pipeline.ProcessLayer(os.Environ())}, files...)
	opts.Layers = append(opts.Layers, pipeline.GitLayer(git))
	return opts, nil
}

// identity is what a project is called where its secrets are stored; empty if nothing says it.
type identity struct{ instance, project string }

// identity reads the variables that say it.
func (p *project) identity(opts pipeline.Options) identity {
	vars, _ := p.def.Variables(opts) // a plan was made with the same options
	values := map[string]string{}
	for _, v := range vars {
		values[v.Name] = v.Value.Text
	}
	return identity{values["WHARF_INSTANCE"], cmp.Or(values["WHARF_PROJECT_ID"], values["PROJECT_ID"])}
}

// pairs reads the values of a flag of the form name=value.
func pairs(flag string, values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%s %q: must be name=value", flag, v)
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("--%s %s: is given twice", flag, name)
		}
		m[name] = value
	}
	return m, nil
}
