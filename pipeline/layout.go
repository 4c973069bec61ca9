package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// layout says how a definition is built. A report says it once.
const layout = `every key at the left margin but inputs, environments, timeout and concurrency is a stage; below it are steps, ` +
	`and below each its type, as in build: {hello: {container: {image: "alpine:3", cmds: [make]}}}`

// foreign are keys at the left margin of other tools' files. As the name of a stage each is as good as any other.
var foreign = []string{
	"after_script", "before_script", "cache", "commands", "default", "defaults", "env", "executors", "image", "include", "jobs", "kind",
	"language", "name", "on", "orbs", "permissions", "pipeline", "pipelines", "pool", "script", "services", "stages", "steps", "trigger",
	"variables", "version", "workflow", "workflows",
}

// layOut gives a problem the hint how a definition is built, unless it or one before it has a hint already.
func (p *parser) layOut(e *Error) {
	if e.Hint == "" && !p.laidOut {
		e.Hint, p.laidOut = layout, true
	}
}

// misread reports a map at the left margin that was not meant as a stage, which spares a problem for each of its lines.
func (p *parser) misread(e entry) bool {
	if len(e.value.entries) == 0 || slices.ContainsFunc(e.value.entries, isStep) {
		return false
	}
	meant := nearest(e.key, topLevelKeys)
	if meant == "" && !slices.Contains(foreign, e.key) {
		return false
	}
	err := p.report.at(p.source, e.pos, fmt.Sprintf("the key %s makes a stage, but it has no step with a step type", quote(e.key)))
	err.Hint = didYouMean(meant)
	p.layOut(err)
	p.noEnvironments = p.noEnvironments || meant == keyEnvironments
	return true
}

// isStep tells whether an entry of a stage has a step type.
func isStep(f entry) bool {
	return slices.ContainsFunc(f.value.entries, func(t entry) bool { return stepShape.field(t.key) != nil })
}

// nameless reports a step type that stands where the name of a step should be.
func (p *parser) nameless(e entry) bool {
	f := stepShape.field(e.key)
	if f == nil || len(e.value.entries) == 0 || isStep(e) {
		return false
	}
	if !slices.ContainsFunc(e.value.entries, func(t entry) bool { return f.shape.field(t.key) != nil }) {
		return false
	}
	err := p.report.at(p.source, e.pos, fmt.Sprintf("the step type %s stands where the name of a step is expected", quote(e.key)))
	err.Hint = fmt.Sprintf("a step has a name above its type, as in hello: {%s: {%s: …}}", e.key, e.value.entries[0].key)
	return true
}

// dedented reports what should stand below a step type but stands beside it. The type has nothing below it then.
func (p *parser) dedented(e entry) bool {
	for _, t := range e.value.entries {
		f := stepShape.field(t.key)
		if f == nil || t.value.form != nothing {
			continue
		}
		var beside []string
		for _, other := range e.value.entries {
			if f.shape.field(other.key) != nil && stepShape.field(other.key) == nil {
				beside = append(beside, quote(other.key))
			}
		}
		if len(beside) > 0 {
			err := p.report.at(p.source, t.pos, fmt.Sprintf("%s has nothing below it", quote(t.key)))
			err.Hint = "indent " + strings.Join(beside, ", ") + " further than " + quote(t.key)
			return true
		}
	}
	return false
}
