package pipeline

import "io/fs"

// Options are what a plan depends on beside its definition. The zero value plans every stage, without an environment,
// given inputs, outside variables or files.
type Options struct {
	// Environment is the name of the build's environment; empty means none.
	Environment string
	// Inputs are the given values of inputs, as text. A value must fit its input's type.
	Inputs map[string]string
	// Stages limits the plan to the named stages; empty means all.
	Stages []string
	// Vars are variables given by hand. They act like WHARF_VAR_* of the process and win over it.
	Vars map[string]string
	// Layers are the other variables from outside, the strongest first; the usual order is the process's environment,
	// variable files from near to far, facts from Git. Their values are literal text.
	Layers []Layer
	// Strict makes an error of every unknown ${name}, in cmds too.
	Strict bool
	// Files is the repository, for the files whose content is substituted; nil leaves them unread. It should not follow
	// symbolic links out of the repository: os.Root.FS does not, os.DirFS does.
	Files fs.FS

	mask bool // replace the values of secrets
}

// A Layer is a set of variables from one source outside the definition.
type Layer struct {
	Source Source
	Values map[string]string
}

// Origin is a kind of place that a variable comes from.
type Origin string

// The origins. If more than one defines the same name, the first in this list wins; a matrix is known to its own step only.
const (
	FromMatrix      Origin = "matrix"
	FromEnvironment Origin = "environment"
	FromInput       Origin = "input"
	FromOption      Origin = "option"  // Options.Vars
	FromProcess     Origin = "process" // WHARF_VAR_*
	FromFile        Origin = "file"    // .wharf-vars.yml
	FromGit         Origin = "git"
)

// A Source says where a variable comes from.
type Source struct {
	Origin Origin `json:"origin"`
	// Detail is the environment's name, the variable file's path, the name of the process's variable, or empty.
	Detail string `json:"detail,omitempty"`
}

// A Variable is a name with its value and source.
type Variable struct {
	Name  string `json:"name"`
	Value Value  `json:"value"`
	// Secret says that Value must not be shown: it is a password input, or was made from one.
	Secret bool   `json:"secret,omitempty"`
	Source Source `json:"source"`
	// Shadows are the definitions of the same name that lost, the strongest first.
	Shadows []Variable `json:"shadows,omitempty"`
}
