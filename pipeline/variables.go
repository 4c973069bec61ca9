package pipeline

import (
	"fmt"
	"maps"
	"slices"
)

// scope makes the variables of a definition. It reports inputs that do not fit and an environment that does not exist,
// and evaluates every variable, so that each problem is reported whether or not a step uses it.
func (d *Definition) scope(opts Options, r, w *report) *scope {
	s := &scope{source: d.source, report: r, warnings: w, strict: opts.Strict, mask: opts.mask}
	if s.source == nil {
		s.source = newSource("", "")
	}
	given := Layer{Source: Source{Origin: FromOption}, Values: opts.Vars}
	for _, l := range append([]Layer{given}, opts.Layers...) {
		for _, name := range slices.Sorted(maps.Keys(l.Values)) {
			s.define(outside, &variable{name: name, source: l.source(name), value: StringValue(l.Values[name]), state: finished})
		}
	}
	s.alias("PROJECT_ID", "WHARF_PROJECT_ID")
	d.defineInputs(s, opts)
	d.defineEnvironment(s, opts.Environment)
	for l := ofInputs; l <= ofEnvironment; l++ {
		for _, name := range slices.Sorted(maps.Keys(s.levels[l])) {
			s.evaluate(s.levels[l][name], l)
		}
	}
	return s
}

func (l Layer) source(name string) Source {
	if l.Source.Origin == FromProcess {
		return Source{FromProcess, processPrefix + name}
	}
	return l.Source
}

// alias makes two built-in names mean the same, where only one of them is defined.
func (s *scope) alias(a, b string) {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		if v, ok := s.levels[outside][pair[0]]; ok {
			c := *v
			c.name = pair[1]
			if _, ok := s.levels[outside][c.name]; !ok {
				s.define(outside, &c)
			}
		}
	}
}

func (d *Definition) defineInputs(s *scope, opts Options) {
	given := opts.Inputs
	names := make([]string, len(d.inputs))
	for i := range d.inputs {
		in := &d.inputs[i]
		names[i] = in.Name
		v := &variable{name: in.Name, source: Source{Origin: FromInput}, secret: in.Type == InputPassword, pos: in.pos}
		text, ok := given[in.Name]
		switch {
		case ok:
			v.value, v.state = StringValue(text), finished
			if err := in.refuses(v.value, v.secret); err != nil {
				s.report.at(s.source, in.pos, fmt.Sprintf("the input %s %v", quote(in.Name), err))
			}
			v.value = in.typed(v.value)
		case in.def == nil:
			s.report.at(s.source, in.pos, fmt.Sprintf("the input %s has no default and was given no value", quote(in.Name)))
			v.state = finished
		default:
			v.input, v.template, v.value = in, in.def, in.def.value()
		}
		if opts.mask && v.secret {
			v.value, v.state = StringValue(masked), finished
		}
		s.define(ofInputs, v)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(names, name) {
			e := s.report.at(s.source, pos{}, fmt.Sprintf("there is no input %s to give a value to", quote(name)))
			e.suggest(name, names)
		}
	}
}

func (d *Definition) defineEnvironment(s *scope, name string) {
	if name == "" {
		return
	}
	i := slices.IndexFunc(d.environments, func(e environment) bool { return e.name == name })
	if i < 0 {
		e := s.report.at(s.source, pos{}, fmt.Sprintf("there is no environment %s", quote(name)))
		e.suggest(name, d.Environments())
		return
	}
	for _, e := range d.environments[i].vars {
		s.define(ofEnvironment, &variable{
			name: e.key, source: Source{FromEnvironment, name}, pos: e.value.pos, template: e.value,
		})
	}
}

// secrets returns the values of password inputs.
func (s *scope) secrets() []string {
	var values []string
	for _, v := range s.levels[ofInputs] {
		if v.secret && v.value.Text != "" {
			values = append(values, v.value.Text)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// Variables returns the variables that the values of steps see, sorted by name, each with its source and with the
// definitions that it shadows. The error is an [Errors] as for Plan; opts.Stages and opts.Files have no effect.
//
// A name that is defined more than once has the value of the first of these: the chosen environment, the inputs,
// Options.Vars, and Options.Layers in their order. (The variables of a matrix are known to its step only, and win there.)
//
// The values of environments and the defaults of inputs are templates. A default sees other inputs and what comes from
// outside; a value of an environment sees the environment too. In the definition of X, ${X} is the X that it shadows.
// Everything else is literal text.
func (d *Definition) Variables(opts Options) ([]Variable, error) {
	r, w := &report{}, &report{}
	s := d.scope(opts, r, w)
	if err := r.err(); err != nil {
		return nil, err
	}
	var all []Variable
	for _, name := range s.names(ofEnvironment) {
		var found []Variable
		for l := ofEnvironment; l >= outside; l-- {
			if v, ok := s.levels[l][name]; ok {
				found = append(found, v.export())
			}
		}
		for _, v := range s.shadowed[name] {
			found = append(found, v.export())
		}
		found[0].Shadows = found[1:len(found):len(found)]
		if len(found) == 1 {
			found[0].Shadows = nil
		}
		all = append(all, found[0])
	}
	return all, nil
}

func (v *variable) export() Variable {
	return Variable{Name: v.name, Value: v.value, Secret: v.secret, Source: v.source}
}

// Expand substitutes the variables in the text of a file, as Plan does for the files that steps refer to, of which it
// makes at most 4 MiB. The warnings are about unknown names; with opts.Strict they are errors. The file's name is used
// in messages only.
func (d *Definition) Expand(opts Options, file, text string) (out string, warnings Errors, err error) {
	r, w := &report{}, &report{}
	s := d.scope(opts, r, &report{})
	s.warnings = w
	out = s.inFile(file, text)
	if err := r.err(); err != nil {
		return "", nil, err
	}
	return out, w.sorted(), nil
}
