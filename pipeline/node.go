package pipeline

import "strings"

// form is what a node is in the file.
type form uint8

const (
	nothing form = iota // null
	text
	integer
	decimal
	boolean
	list
	mapping
)

// String names the form for a message.
func (f form) String() string {
	return [...]string{"nothing", "text", "a number", "a number", "true or false", "a list", "a map"}[f]
}

// node is a value of the definition with its place. Aliases and merge keys are resolved. A tree is immutable once it is
// made, and substitution makes a new one.
type node struct {
	form form
	pos  pos
	// text is a scalar's text: as written for numbers, "true" or "false" for booleans.
	text string
	// quoted says that the scalar is not plain, so that its text is text and nothing else; substituted that it came out of
	// a template, so that text which looks like a number can stand for one.
	quoted, substituted bool
	secret              bool    // a secret went into the text, so no message shows it
	items               []*node // of a list
	entries             []entry // of a map, in the order of the file, with unique keys
}

// entry is a key of a map with its value.
type entry struct {
	key   string
	pos   pos // the key's place
	value *node
}

// scalar tells whether the node is text, a number or a boolean.
func (n *node) scalar() bool { return text <= n.form && n.form <= boolean }

// isTemplate tells whether the scalar may hold a reference to a variable.
func (n *node) isTemplate() bool { return n != nil && n.scalar() && strings.Contains(n.text, "${") }

// value returns the scalar as a variable's value.
func (n *node) value() Value {
	switch n.form {
	case integer, decimal:
		return Value{Number, n.text}
	case boolean:
		return Value{Bool, n.text}
	}
	return StringValue(n.text)
}

// show formats a scalar's text for a message, unless it holds a secret.
func (n *node) show() string {
	if n.secret {
		return "a secret"
	}
	if n.form == integer || n.form == decimal {
		return n.text
	}
	return quote(n.text)
}

// with returns a copy of the scalar with the value that a template gave.
func (n *node) with(v Value) *node {
	c := *n
	c.text, c.substituted, c.quoted = v.Text, true, true
	c.form = map[Kind]form{String: text, Bool: boolean, Number: decimal}[v.Kind]
	return &c
}

// at returns the value of a key, or nil if the key is absent or has no value.
func (n *node) at(key string) *node {
	if n == nil {
		return nil
	}
	for i := range n.entries {
		if n.entries[i].key == key && n.entries[i].value.form != nothing {
			return n.entries[i].value
		}
	}
	return nil
}

// str returns the text of a scalar, or an empty string.
func (n *node) str() string {
	if n == nil {
		return ""
	}
	return n.text
}

// strs returns the texts of a list of scalars.
func (n *node) strs() []string {
	if n == nil || len(n.items) == 0 {
		return nil
	}
	s := make([]string, len(n.items))
	for i, item := range n.items {
		s[i] = item.text
	}
	return s
}

// strMap returns a map of scalars as text.
func (n *node) strMap() map[string]string {
	if n == nil || len(n.entries) == 0 {
		return nil
	}
	m := make(map[string]string, len(n.entries))
	for _, e := range n.entries {
		m[e.key] = e.value.text
	}
	return m
}
