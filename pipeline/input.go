package pipeline

import "fmt"

// InputType is the type of an input.
type InputType string

// The input types.
const (
	InputString   InputType = "string"
	InputPassword InputType = "password" // its value is a secret
	InputNumber   InputType = "number"
	InputChoice   InputType = "choice"
)

// An Input is a value that is asked for when a build is started.
type Input struct {
	Name string    `json:"name"`
	Type InputType `json:"type"`
	// Default is the default as written, before substitution; nil if a value must be given.
	Default *Value `json:"default,omitempty"`
	// Values are what can be chosen, for InputChoice.
	Values []string `json:"values,omitempty"`
}

// input is an Input with what its default needs.
type input struct {
	Input
	pos pos
	def *node // nil if there is none
}

// refuses says why a value does not fit the input, as the end of a sentence.
func (in *input) refuses(v Value, secret bool) error {
	n := node{text: v.Text, secret: secret}
	switch in.Type {
	case InputNumber:
		if _, ok := parseNumber(v.Text); !ok {
			return fmt.Errorf("must be a number, but this is %s", n.show())
		}
	case InputChoice:
		for _, choice := range in.Values {
			if v.Text == choice {
				return nil
			}
		}
		return fmt.Errorf("must be %s, but this is %s", oneOf(in.Values), n.show())
	}
	return nil
}

// typed gives a value the kind that the input's type asks for.
func (in *input) typed(v Value) Value {
	v.Kind = String
	if in.Type == InputNumber {
		v.Kind = Number
	}
	return v
}

// parseInputs reads the list of inputs.
func (p *parser) parseInputs(n *node) []input {
	p.check.check(n, inputsShape, quote(keyInputs))
	var inputs []input
	lines := map[string]int{}
	for _, item := range n.items {
		name, typ := item.at("name"), item.at("type")
		if item.form != mapping || !name.isText() || !typ.isText() {
			continue
		}
		if first, ok := lines[name.text]; ok {
			p.report.at(p.source, name.pos, fmt.Sprintf("the input %s stands here twice, first in line %d", quote(name.text), first))
			continue
		}
		lines[name.text] = name.pos.line
		in := input{Input: Input{Name: name.text, Type: InputType(typ.text)}, pos: name.pos, def: item.at("default")}
		p.inputValues(&in, item)
		inputs = append(inputs, in)
	}
	return inputs
}

func (n *node) isText() bool { return n != nil && n.scalar() }

// inputValues reads the values and the default of an input and holds them against its type.
func (p *parser) inputValues(in *input, item *node) {
	values := item.at("values")
	switch {
	case in.Type == InputChoice && values == nil:
		p.report.at(p.source, item.pos, fmt.Sprintf("the choice %s needs the key %s", quote(in.Name), quote("values")))
	case in.Type == InputChoice && in.def == nil:
		p.report.at(p.source, item.pos, fmt.Sprintf("the choice %s needs the key %s", quote(in.Name), quote("default")))
	}
	if values != nil && values.form == list {
		in.Values = values.strs()
		if in.Type != InputChoice {
			p.warnings.at(p.source, values.pos, fmt.Sprintf("the values of the input %s have no effect, since it is no choice", quote(in.Name)))
		}
	}
	if in.def == nil || !in.def.scalar() {
		return
	}
	v := in.def.value()
	in.Default = &v
	if in.def.isTemplate() || in.Type == InputChoice && len(in.Values) == 0 {
		return
	}
	if err := in.refuses(v, false); err != nil {
		p.report.at(p.source, in.def.pos, fmt.Sprintf("the default of the input %s %v", quote(in.Name), err))
	}
}
