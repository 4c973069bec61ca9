package pipeline

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// masked stands for a secret in a rendered definition.
const masked = "***"

// Render returns the definition as YAML after substitution: step values, the defaults of inputs and the values of the
// chosen environment. Aliases and merge keys are written out, matrices are not expanded, comments are lost, and the value
// of a secret is "***". The error is an [Errors] as for Plan; opts.Stages and opts.Files have no effect.
func (d *Definition) Render(opts Options) ([]byte, error) {
	if d.root == nil {
		return nil, nil
	}
	opts.mask = true
	r, w := &report{}, &report{}
	s := d.scope(opts, r, w)
	root := *d.root
	root.entries = slices.Clone(root.entries)
	for i := range root.entries {
		e := &root.entries[i]
		switch {
		case e.key == keyInputs:
			e.value = s.renderInputs(e.value)
		case e.key == keyEnvironments:
			e.value = s.renderEnvironments(e.value, opts.Environment)
		case e.value.form == mapping:
			e.value = s.renderStage(e.value)
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return yaml.Dump(root.yaml(), yaml.WithIndent(2), yaml.WithLineWidth(-1))
}

func (s *scope) renderInputs(n *node) *node {
	return n.each(func(_ string, item *node) *node {
		v, ok := s.levels[ofInputs][item.at("name").str()]
		return item.each(func(key string, value *node) *node {
			if key == "default" && ok && value.scalar() {
				return value.with(v.value)
			}
			return value
		})
	})
}

func (s *scope) renderEnvironments(n *node, chosen string) *node {
	return n.each(func(name string, vars *node) *node {
		if name != chosen {
			return vars
		}
		return vars.each(func(key string, value *node) *node {
			if v, ok := s.levels[ofEnvironment][key]; ok {
				return value.with(v.value)
			}
			return value
		})
	})
}

// renderStage substitutes the steps of a stage. The variables of a matrix stay references.
func (s *scope) renderStage(n *node) *node {
	return n.each(func(name string, st *node) *node {
		if name == keyEnvironments || name == keyRunIf {
			return st
		}
		return st.each(func(typ string, body *node) *node {
			f := stepShape.field(typ)
			if f == nil || body.form != mapping {
				return body
			}
			s.levels[ofMatrix] = level{}
			if m := body.at("matrix"); m != nil && typ == string(TypeContainer) {
				for _, e := range m.entries {
					s.define(ofMatrix, &variable{name: e.key, value: StringValue("${" + e.key + "}"), state: finished})
				}
			}
			return s.tree(body, f.shape, ofMatrix)
		})
	})
}

// each returns a copy of a list or map with each value replaced by what f makes of it; the key is empty in a list.
func (n *node) each(f func(key string, value *node) *node) *node {
	c := *n
	c.items = make([]*node, len(n.items))
	for i, item := range n.items {
		c.items[i] = f("", item)
	}
	c.entries = slices.Clone(n.entries)
	for i := range c.entries {
		c.entries[i].value = f(c.entries[i].key, c.entries[i].value)
	}
	return &c
}

// yaml returns the tree for the YAML library.
func (n *node) yaml() *yaml.Node {
	y := &yaml.Node{Kind: yaml.ScalarNode, Value: n.text}
	switch n.form {
	case nothing:
		y.Tag, y.Value = "!!null", "null"
	case integer, decimal:
		y.Tag = "!!float"
		if !strings.ContainsAny(n.text, ".eE") || strings.HasPrefix(n.text, "0x") {
			y.Tag = "!!int"
		}
	case boolean:
		y.Tag = "!!bool"
	case list:
		y.Kind, y.Tag = yaml.SequenceNode, "!!seq"
		for _, item := range n.items {
			y.Content = append(y.Content, item.yaml())
		}
	case mapping:
		y.Kind, y.Tag = yaml.MappingNode, "!!map"
		for _, e := range n.entries {
			key := node{form: text, text: e.key}
			y.Content = append(y.Content, key.yaml(), e.value.yaml())
		}
	default:
		y.Tag = "!!str"
		if strings.Contains(n.text, "\n") {
			y.Style = yaml.LiteralStyle
		}
	}
	return y
}
