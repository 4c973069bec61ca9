package pipeline

import "slices"

// A Definition is a parsed and checked .wharf-ci.yml. It is immutable and safe for concurrent use. The zero Definition is
// that of an empty file: it has no stages, environments or inputs.
type Definition struct {
	source       *source
	root         *node
	inputs       []input
	environments []environment
	stages       []stage
	timeout      Duration
	concurrency  int
	warnings     Errors // what Parse found worth saying; each plan repeats it
}

// environment is a set of variables that a build can choose.
type environment struct {
	name string
	vars []entry
}

// stage is a stage as it is written.
type stage struct {
	name         string
	pos          pos
	environments []string // the filter; empty means none
	filter       *node    // where it stands
	runIf        RunIf
	steps        []step
	broken       []string // names of what should be steps; a definition has none
}

// step is a step as it is written: body is what stands under its type, with nothing substituted.
type step struct {
	name  string
	pos   pos
	typ   Type
	body  *node
	needs []string
}

// File returns the name that was given to Parse.
func (d *Definition) File() string {
	if d.source == nil {
		return ""
	}
	return d.source.file
}

// Inputs returns the definition's inputs in the order of the file.
func (d *Definition) Inputs() []Input {
	inputs := make([]Input, len(d.inputs))
	for i, in := range d.inputs {
		inputs[i] = in.Input
		inputs[i].Values = slices.Clone(in.Values)
	}
	return inputs
}

// Environments returns the names of the environments in the order of the file.
func (d *Definition) Environments() []string {
	names := make([]string, len(d.environments))
	for i, e := range d.environments {
		names[i] = e.name
	}
	return names
}

// Stages returns the names of the stages in the order of the file.
func (d *Definition) Stages() []string {
	names := make([]string, len(d.stages))
	for i, s := range d.stages {
		names[i] = s.name
	}
	return names
}
