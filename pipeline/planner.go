package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What a plan may be at most, counting every element of every matrix.
const (
	MaxSteps = 10_000
	MaxNeeds = 100_000 // dependencies between steps

	maxLooks = 50_000 // files and directories that steps refer to, with the entries of the latter
)

// Plan makes the definition ready to run. If anything is wrong the plan is nil and the error is an [Errors] with every
// problem. What is suspicious but not wrong is in the plan's Warnings.
//
// Plan reads opts.Files but nothing else from outside, and gives equal plans for equal options and files.
func (d *Definition) Plan(opts Options) (*Plan, error) {
	r, w := &report{}, &report{errs: slices.Clone(d.warnings)}
	p := &planner{definition: d, opts: opts, report: r, scope: d.scope(opts, r, w), ids: map[string]bool{}}
	plan := &Plan{
		File: d.File(), Environment: opts.Environment,
		Timeout: d.timeout, Concurrency: d.concurrency,
		Stages:  make([]Stage, 0, len(d.stages)),
		Secrets: p.scope.secrets(),
	}
	p.selected()
	for _, s := range d.stages {
		plan.Stages = append(plan.Stages, p.stage(s))
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	plan.Warnings = w.sorted()
	return plan, nil
}

// planner makes one plan.
type planner struct {
	definition *Definition
	opts       Options
	report     *report
	scope      *scope
	ids        map[string]bool

	dependencies int // so far
	looks        int // so far
}

// selected reports the names in Options.Stages that are no stages.
func (p *planner) selected() {
	known := p.definition.Stages()
	for _, name := range p.opts.Stages {
		if !slices.Contains(known, name) {
			e := p.report.at(p.scope.source, pos{}, fmt.Sprintf("there is no stage %s to run", quote(name)))
			e.suggest(name, known)
		}
	}
}

// skip returns the reason why a stage does not run, or an empty string.
func (p *planner) skip(s stage) string {
	switch {
	case len(p.opts.Stages) > 0 && !slices.Contains(p.opts.Stages, s.name):
		return "not selected"
	case len(s.environments) == 0 || slices.Contains(s.environments, p.opts.Environment):
		return ""
	case p.opts.Environment == "":
		return "the build has no environment, and the stage runs only in " + oneOf(s.environments)
	}
	return fmt.Sprintf("the build's environment is %s, and the stage runs only in %s", quote(p.opts.Environment), oneOf(s.environments))
}

func (p *planner) stage(s stage) Stage {
	out := Stage{Name: s.name, RunIf: s.runIf, Skip: p.skip(s), Steps: make([]Step, 0, len(s.steps))}
	ids := map[string][]string{} // of the elements of each step
	var from []int               // the index of the step that each element is made of
	for i, st := range s.steps {
		steps := []Step{{Name: st.name}}
		if out.Skip == "" {
			steps = p.step(s, st)
		}
		for _, el := range steps {
			el.ID, el.Type, el.Line = p.id(s.name, el.Name), st.typ, st.pos.line
			ids[st.name] = append(ids[st.name], el.ID)
			out.Steps = append(out.Steps, el)
			from = append(from, i)
		}
	}
	if out.Skip != "" {
		return out
	}
	for i := range out.Steps {
		out.Steps[i].Needs = p.needs(s, s.steps[from[i]], ids)
	}
	return out
}

// needs returns the IDs of all elements of the steps that a step needs.
func (p *planner) needs(s stage, st step, ids map[string][]string) []string {
	var needs []string
	seen := make(map[string]bool, len(st.needs))
	for _, name := range st.needs {
		if seen[name] {
			continue
		}
		seen[name] = true
		if p.dependencies += len(ids[name]); p.dependencies > MaxNeeds {
			p.report.at(p.scope.source, s.pos, fmt.Sprintf("steps need each other more than %d times", MaxNeeds))
			return nil
		}
		needs = append(needs, ids[name]...)
	}
	return needs
}

// id returns a step's ID. It is unique even if two names hash alike.
func (p *planner) id(stage, name string) string {
	id := stepID(stage, name)
	for n := 2; p.ids[id]; n++ {
		id = stepID(stage, name+"\x00"+strconv.Itoa(n))
	}
	p.ids[id] = true
	return id
}

// step plans the elements of one step: one, or as many as its matrix has.
func (p *planner) step(s stage, st step) []Step {
	combinations := p.matrix(st)
	if len(p.ids)+len(combinations) > MaxSteps {
		p.report.at(p.scope.source, st.pos, fmt.Sprintf("the plan has more than %d steps", MaxSteps))
		return nil
	}
	var steps []Step
	for _, values := range combinations {
		if p.scope.nodes > maxPlanNodes {
			p.report.at(p.scope.source, st.pos, fmt.Sprintf("the plan has more than %d keys and values", maxPlanNodes))
			break
		}
		if p.scope.spent() {
			break
		}
		p.scope.levels[ofMatrix] = level{}
		el := Step{Name: st.name, Matrix: values}
		if len(values) > 0 {
			texts := make([]string, len(values))
			for i, v := range values {
				texts[i], values[i].Value = v.Value.Text, v.Value.plain()
				p.scope.define(ofMatrix, &variable{name: v.Name, value: v.Value, state: finished, source: Source{Origin: FromMatrix}})
			}
			el.Name += " (" + strings.Join(texts, ", ") + ")"
			p.scope.spend(st.pos, len(el.Name))
		}
		p.body(&el, st)
		steps = append(steps, el)
	}
	p.scope.levels[ofMatrix] = nil
	return steps
}

// body substitutes what stands under a step's type, checks it again now that everything is known, and fills the step.
func (p *planner) body(out *Step, st step) {
	sh := stepShape.field(string(st.typ)).shape
	n := p.scope.tree(st.body.without("matrix", "needs"), sh, ofMatrix)
	if p.scope.spent() {
		return
	}
	problems := len(p.report.errs)
	c := checker{source: p.scope.source, report: p.report, final: true}
	c.check(n, sh, "a "+string(st.typ)+" step")
	if st.typ == TypeContainer {
		c.container(n)
	}
	if len(p.report.errs) > problems {
		return
	}
	b := builder{planner: p, step: st, node: n}
	switch st.typ {
	case TypeContainer:
		b.container(out)
	case TypeDocker:
		out.Docker = b.docker()
	case TypeHelm:
		out.Helm = b.helm()
	case TypeHelmPackage:
		out.HelmPackage = b.helmPackage()
	case TypeKubectl:
		out.Kubectl = b.kubectl()
	case TypeNuGetPackage:
		out.NuGetPackage = b.nuget()
	}
}

// without returns a copy of a map without some keys.
func (n *node) without(keys ...string) *node {
	c := *n
	c.entries = slices.DeleteFunc(slices.Clone(n.entries), func(e entry) bool { return slices.Contains(keys, e.key) })
	return &c
}
