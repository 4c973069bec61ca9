package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// Parse reads a definition. The name is that of the file; it is used in messages only. If anything is wrong the
// definition is nil and the error is an [Errors] with every problem of the file. A syntax error hides what comes after
// it, since nothing there can be understood.
func Parse(name string, src []byte) (*Definition, error) {
	p := &parser{report: &report{}, warnings: &report{}}
	p.source = prepare(name, src, p.report)
	if p.source == nil {
		return nil, p.report.err()
	}
	p.check = checker{source: p.source, report: p.report}
	d := p.definition(load(p.source, p.report))
	if err := p.report.err(); err != nil {
		return nil, err
	}
	return d, nil
}

// parser makes a Definition of a tree.
type parser struct {
	source           *source
	report, warnings *report
	check            checker
	laidOut          bool // a problem has the layout as its hint
	noEnvironments   bool // they were there, but are not known
}

func (p *parser) definition(root *node) *Definition {
	d := &Definition{source: p.source, root: root}
	if root == nil || root.form == nothing {
		if len(p.report.errs) == 0 {
			p.report.at(p.source, pos{1, 1}, "the file is empty").Hint = "a definition has at least one stage with a step"
		}
		return d
	}
	if root.form != mapping {
		p.layOut(p.report.at(p.source, root.pos, fmt.Sprintf("a definition is a map of stages, but this is %s", root.form)))
		return d
	}
	for _, e := range root.entries {
		p.topLevel(d, e)
	}
	p.filters(d)
	if len(d.stages) == 0 && len(p.report.errs) == 0 {
		p.report.at(p.source, root.pos, "there is no stage").Hint = layout
	}
	d.warnings = p.warnings.sorted()
	return d
}

// topLevel reads one key of the file. The keys that we added to the language are scalars there, and a map is a stage as
// it has always been.
func (p *parser) topLevel(d *Definition, e entry) {
	switch {
	case e.key == keyInputs:
		if e.value.form != nothing {
			d.inputs = p.parseInputs(e.value)
		}
	case e.key == keyEnvironments:
		if e.value.form != nothing {
			d.environments = p.environments(e.value)
		}
	case e.key == keyTimeout && e.value.form != mapping:
		p.check.check(e.value, timeoutShape, quote(keyTimeout))
		d.timeout, _ = parseDuration(e.value.text)
	case e.key == keyConcurrency && e.value.form != mapping:
		p.check.check(e.value, concurrencyShape, quote(keyConcurrency))
		d.concurrency, _ = e.value.int()
	default:
		if s, ok := p.stage(e); ok {
			d.stages = append(d.stages, s)
		}
	}
}

func (p *parser) environments(n *node) []environment {
	if n.form != mapping {
		p.check.wrong(n, environmentsShape, quote(keyEnvironments))
		return nil
	}
	var envs []environment
	for _, e := range n.entries {
		if e.value.form != nothing {
			p.check.check(e.value, variablesShape, "the environment "+quote(e.key))
		}
		envs = append(envs, environment{e.key, e.value.entries})
	}
	return envs
}

func (p *parser) stage(e entry) (stage, bool) {
	s := stage{name: e.key, pos: e.pos, runIf: RunIfSuccess}
	what := "the stage " + quote(e.key)
	if e.value.form != mapping && e.value.form != nothing {
		err := p.report.at(p.source, e.value.pos, fmt.Sprintf("%s must be a map of steps, but this is %s", what, e.value.form))
		err.suggest(e.key, topLevelKeys)
		p.layOut(err)
		return s, false
	}
	if p.misread(e) {
		return s, false
	}
	for _, f := range e.value.entries {
		switch f.key {
		case keyEnvironments:
			if f.value.form != nothing {
				p.check.check(f.value, filterShape, quote(keyEnvironments))
				s.environments, s.filter = f.value.strs(), f.value
			}
		case keyRunIf:
			if f.value.form != nothing {
				p.check.check(f.value, runIfShape, quote(keyRunIf))
				s.runIf = RunIf(f.value.text)
			}
		default:
			if st, ok := p.step(f); ok {
				s.steps = append(s.steps, st)
			} else {
				s.broken = append(s.broken, f.key)
			}
		}
	}
	if !slices.ContainsFunc(e.value.entries, func(f entry) bool { return f.key != keyEnvironments && f.key != keyRunIf }) {
		p.report.at(p.source, e.pos, what+" has no step")
	}
	p.needs(&s)
	return s, true
}

// step reads a step and finds its type. A step of which too little is known to go on is not ok, and was reported.
func (p *parser) step(e entry) (step, bool) {
	s := step{name: e.key, pos: e.pos}
	what := "the step " + quote(e.key)
	if e.value.form != mapping && e.value.form != nothing {
		err := p.report.at(p.source, e.value.pos, fmt.Sprintf("%s must be a map with a step type, but this is %s", what, e.value.form))
		err.suggest(e.key, []string{keyEnvironments, keyRunIf})
		p.layOut(err)
		return s, false
	}
	if p.nameless(e) || p.dedented(e) {
		return s, false
	}
	for _, t := range e.value.entries {
		f := stepShape.field(t.key)
		switch {
		case f == nil:
			p.unknownType(t)
		case s.typ != "":
			p.report.at(p.source, t.pos, fmt.Sprintf("%s has the type %s already; a step has one type", what, s.typ))
		default:
			s.typ, s.body = Type(t.key), t.value
			p.body(t, f.shape)
		}
	}
	if len(e.value.entries) == 0 {
		p.report.at(p.source, e.pos, what+" has no step type").Hint = "step types are " + strings.Join(stepShape.names(), ", ")
	}
	if s.typ == TypeContainer {
		s.needs = s.body.at("needs").strs()
	}
	return s, s.typ != ""
}

// body checks what stands under a step type. Missing keys are reported at the type, where the eye looks for them.
func (p *parser) body(t entry, s *shape) {
	n := *t.value
	if n.form == nothing {
		n.form = mapping
	}
	if n.form == mapping {
		n.pos = t.pos
	}
	p.check.check(&n, s, "a "+t.key+" step")
	if t.key == string(TypeContainer) {
		p.check.container(&n)
	}
}

func (p *parser) unknownType(t entry) {
	err := p.report.at(p.source, t.pos, quote(t.key)+" is no step type")
	err.suggest(t.key, stepShape.names())
	switch {
	case err.Hint != "":
	case t.key == keyRunIf || t.key == keyEnvironments:
		err.Hint = fmt.Sprintf("%s is a key of a stage: put it beside the steps", quote(t.key))
	case containerShape.field(t.key) != nil:
		err.Hint = fmt.Sprintf("%s belongs under the step type, as in: container: {%s: …}", quote(t.key), t.key)
	default:
		err.Hint = "step types are " + strings.Join(stepShape.names(), ", ")
	}
}

// filters reports the stages' environments that are not defined.
func (p *parser) filters(d *Definition) {
	if p.noEnvironments {
		return
	}
	names, known := d.Environments(), map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	for _, s := range d.stages {
		for i, name := range s.environments {
			if !known[name] && s.filter.items[i].scalar() {
				err := p.report.at(p.source, s.filter.items[i].pos, fmt.Sprintf("the environment %s is not defined", quote(name)))
				err.suggest(name, names)
			}
		}
	}
}
