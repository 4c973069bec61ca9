package pipeline

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names of variable files: beside a definition and in the directories above it, and in configuration directories.
const (
	VarFile       = ".wharf-vars.yml"
	ConfigVarFile = "wharf-vars.yml"
)

const processPrefix = "WHARF_VAR_"

// ProcessLayer returns the variables that a process's environment sets: WHARF_VAR_NAME sets NAME. Its argument has the
// form of os.Environ; of a repeated name the last counts.
func ProcessLayer(environ []string) Layer {
	l := Layer{Source: Source{Origin: FromProcess}, Values: map[string]string{}}
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if name, isVar := strings.CutPrefix(name, processPrefix); ok && isVar && name != "" {
			l.Values[name] = value
		}
	}
	return l
}

// VarFiles returns the paths at which variable files are looked for, the nearest first: in dir and each directory above
// it, then in $XDG_CONFIG_HOME/wharf (by default $HOME/.config/wharf), then in /etc/wharf.
func VarFiles(dir string, getenv func(string) string) []string {
	var paths []string
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	for {
		paths = append(paths, filepath.Join(dir, VarFile))
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	config := getenv("XDG_CONFIG_HOME")
	if home := getenv("HOME"); !filepath.IsAbs(config) && home != "" {
		config = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(config) {
		paths = append(paths, filepath.Join(config, "wharf", ConfigVarFile))
	}
	return append(paths, filepath.Join("/etc/wharf", ConfigVarFile))
}

// ReadVarFiles reads the variable files for a definition in dir, the nearest first; see VarFiles. Files that do not exist,
// or stand in a directory that cannot be searched, are left out. Those beside and above the definition are read as [ReadFile]
// does, since they may belong to the repository; those in configuration directories may be links to anywhere. The error is an
// [Errors] if a file cannot be read or is malformed.
func ReadVarFiles(dir string, getenv func(string) string) ([]Layer, error) {
	var layers []Layer
	var problems Errors
	for _, path := range VarFiles(dir, getenv) {
		if _, err := os.Stat(path); err != nil { // it may be out of reach, such as in the home of another user
			continue
		}
		read := func() ([]byte, error) { return ReadFile(filepath.Dir(path), VarFile) }
		if filepath.Base(path) != VarFile {
			read = func() ([]byte, error) { return readRegular(path) }
		}
		data, err := read()
		if err != nil {
			problems = append(problems, &Error{File: path, Msg: err.Error()})
			continue
		}
		l, err := ParseVarFile(path, data)
		if errs, ok := errors.AsType[Errors](err); ok {
			problems = append(problems, errs...)
		}
		layers = append(layers, l)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return layers, nil
}

var varFileShape = &shape{kind: anObject, fields: []field{
	{"vars", false, &shape{
		kind: aMap, elem: &shape{kind: aScalar, empty: true, literal: true}, checkKey: checkVarName,
		desc: "Variables, which are literal text.",
	}},
}}

// ParseVarFile reads the content of a variable file. The error is an [Errors] with every problem.
func ParseVarFile(path string, src []byte) (Layer, error) {
	l := Layer{Source: Source{FromFile, path}, Values: map[string]string{}}
	r := &report{}
	s := prepare(path, src, r)
	if s == nil {
		return l, r.err()
	}
	if root := load(s, r); root != nil && root.form != nothing {
		(&checker{source: s, report: r}).check(root, varFileShape, "a variable file")
		if vars := root.at("vars"); vars != nil && vars.form == mapping {
			for _, e := range vars.entries {
				l.Values[e.key] = e.value.text
			}
		}
	}
	return l, r.err()
}

// GitLayer returns facts from Git as variables; see the package gitvars.
func GitLayer(values map[string]string) Layer {
	return Layer{Source: Source{Origin: FromGit}, Values: values}
}

// Builtins returns the names of the variables that have a meaning of their own, sorted. Those that Git does not know come
// from variable files or the process's environment.
func Builtins() []string { return slices.Clone(builtins) }

var builtins = []string{
	"BUILD_REF", "CHART_REPO", "DEFAULT_DOMAIN", "GIT_BRANCH", "GIT_COMMIT", "GIT_COMMIT_AUTHOR_DATE",
	"GIT_COMMIT_COMMITTER_DATE", "GIT_COMMIT_SUBJECT", "GIT_SAFEBRANCH", "GIT_TAG", "HELM_REG_SECRET", "PROJECT_ID",
	"REG_SECRET", "REG_URL", "REPO_BRANCH", "REPO_GROUP", "REPO_NAME", "WHARF_INSTANCE", "WHARF_PROJECT_ID",
}
