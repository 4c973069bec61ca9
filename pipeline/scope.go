package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Bounds on what substitution can make, since variables that double each other grow without end.
const (
	maxText    = 4 << 20  // bytes of one text
	maxTotal   = 64 << 20 // bytes of all texts of a plan
	maxNesting = 200      // variables inside each other

	maxPlanNodes = 2_000_000 // keys and values of all elements of all matrices
)

// variable is a definition of a name on one level.
type variable struct {
	name   string
	source Source
	value  Value
	secret bool
	pos    pos
	// template is the value before substitution; nil if the value is literal.
	template *node
	input    *input // set for the default of an input
	state    int    // unseen, underway or finished
}

// level is a group of variables of the same rank. A template sees its own level and those before it.
type level map[string]*variable

// The levels, the weakest first. All that comes from outside is one level; which source wins there is decided already.
const (
	outside = iota
	ofInputs
	ofEnvironment
	ofMatrix
	levels
)

// scope finds and evaluates variables. It is used by one goroutine.
type scope struct {
	source           *source
	report, warnings *report
	strict, mask     bool
	levels           [levels]level
	shadowed         map[string][]*variable // of the outside level, the strongest first
	stack            []*variable            // the variables that are being evaluated
	total            int                    // bytes of all texts so far
	sorted           [levels][]string       // the names up to each level, once someone asked
	nodes            int                    // keys and values made so far
	secret           bool                   // a secret went into the text at hand
}

// define adds a variable; the first definition on a level stays.
func (s *scope) define(l int, v *variable) {
	if s.levels[l] == nil {
		s.levels[l] = level{}
	}
	if _, ok := s.levels[l][v.name]; ok {
		if s.shadowed == nil {
			s.shadowed = map[string][]*variable{}
		}
		s.shadowed[v.name] = append(s.shadowed[v.name], v)
		return
	}
	s.levels[l][v.name] = v
}

// lookup returns the strongest variable of a name up to a level, evaluated.
func (s *scope) lookup(name string, upTo int) (*variable, bool) {
	for l := upTo; l >= outside; l-- {
		v, ok := s.levels[l][name]
		if !ok {
			continue
		}
		if n := len(s.stack); n > 0 && s.stack[n-1] == v {
			if s.known(name, l-1) {
				continue // ${X} in the definition of X is the X from further out
			}
		}
		s.evaluate(v, l)
		return v, true
	}
	return nil, false
}

func (s *scope) known(name string, upTo int) bool {
	for l := upTo; l >= outside; l-- {
		if _, ok := s.levels[l][name]; ok {
			return true
		}
	}
	return false
}

// evaluate gives a variable its value. After an error, which is reported once, the value is empty.
func (s *scope) evaluate(v *variable, l int) {
	switch {
	case v.state == finished:
		return
	case v.state == underway:
		s.cycle(v)
		return
	case len(s.stack) >= maxNesting:
		s.report.at(s.source, v.pos, fmt.Sprintf("variables are more than %d deep inside each other", maxNesting))
		v.state = finished
		return
	}
	v.state = underway
	if v.template != nil {
		outer := s.secret
		s.secret = v.secret
		s.stack = append(s.stack, v)
		v.value = s.expand(v.template, l, false).value()
		s.stack = s.stack[:len(s.stack)-1]
		v.secret, s.secret = s.secret, outer
	}
	switch {
	case v.input == nil || v.state != underway:
	case s.mask && v.secret: // what is shown instead need not fit
	default:
		if err := v.input.refuses(v.value, v.secret); err != nil {
			s.report.at(s.source, v.template.pos, fmt.Sprintf("the default of the input %s %v", quote(v.name), err))
		}
		v.value = v.input.typed(v.value)
	}
	v.state = finished
}

// cycle reports the variables that need each other, which are the last ones of the stack from v on.
func (s *scope) cycle(v *variable) {
	var path []string
	for _, u := range s.stack[slices.Index(s.stack, v):] {
		path = append(path, u.name)
		u.state = finished
	}
	s.report.at(s.source, v.pos, "variables need each other: "+showCycle(path))
}

// expand substitutes a scalar. What it does not know it leaves and warns of, unless quiet (in cmds).
func (s *scope) expand(n *node, upTo int, quiet bool) *node {
	if !n.isTemplate() {
		s.spend(n.pos, len(n.text))
		return n
	}
	if s.spent() {
		return n.with(Value{})
	}
	outer := s.secret
	s.secret = false
	defer func() { s.secret = s.secret || outer }()
	v, err := substitute(n.text, maxText, func(r ref) (Value, bool) {
		v, ok := s.lookup(r.name, upTo)
		if !ok {
			s.unknown(n, r, quiet, upTo)
			return Value{}, false
		}
		s.secret = s.secret || v.secret
		return v.value, true
	})
	if bad, ok := errors.AsType[*SyntaxError](err); ok {
		s.report.atRef(s.source, n, bad.Offset, bad.Msg)
		return n.with(Value{})
	}
	if err != nil {
		s.report.at(s.source, n.pos, fmt.Sprintf("substitution makes a text of more than %d MiB", maxText>>20))
		s.spend(n.pos, maxText) // what it cost to find out
		return n.with(Value{})
	}
	if !s.spend(n.pos, len(v.Text)) {
		return n.with(Value{})
	}
	out := n.with(v)
	out.secret = s.secret
	return out
}

// spend counts the bytes of a text that the plan holds. If they become too many it says so once and returns false; the
// plan is of no use then, and whoever makes more of it should stop.
func (s *scope) spend(p pos, size int) bool {
	if s.spent() {
		return false
	}
	if s.total += size; s.spent() {
		s.report.at(s.source, p, fmt.Sprintf("the plan becomes more than %d MiB of text", maxTotal>>20))
		return false
	}
	return true
}

func (s *scope) spent() bool { return s.total > maxTotal }

// unknown warns of a name that is not defined, or reports it if that is asked for.
func (s *scope) unknown(n *node, r ref, quiet bool, upTo int) {
	to := s.warnings
	if s.strict {
		to = s.report
	} else if quiet {
		return
	}
	e := to.atRef(s.source, n, r.offset, fmt.Sprintf("the variable %s is not defined", quote(r.name)))
	if e.Msg != "" && e.Hint == "" {
		e.suggest(r.name, s.names(upTo))
	}
}

// names returns the known names in alphabetical order, those of a matrix first. Nothing but a matrix can be defined later.
func (s *scope) names(upTo int) []string {
	if upTo == ofMatrix {
		return append(slices.Sorted(maps.Keys(s.levels[ofMatrix])), s.names(ofMatrix-1)...)
	}
	if s.sorted[upTo] != nil {
		return s.sorted[upTo]
	}
	all := map[string]bool{}
	for l := outside; l <= upTo; l++ {
		for name := range s.levels[l] {
			all[name] = true
		}
	}
	s.sorted[upTo] = slices.Sorted(maps.Keys(all))
	return s.sorted[upTo]
}

// tree substitutes the values of a tree, but for those that the shape says are literal.
func (s *scope) tree(n *node, sh *shape, upTo int) *node {
	s.nodes++
	if n.scalar() {
		if sh != nil && sh.literal {
			return n
		}
		return s.expand(n, upTo, false)
	}
	c := *n
	c.items = make([]*node, len(n.items))
	for i, item := range n.items {
		c.items[i] = s.tree(item, sh.element(), upTo)
	}
	c.entries = make([]entry, len(n.entries))
	for i, e := range n.entries {
		c.entries[i] = e
		c.entries[i].value = s.entry(e, sh, upTo)
	}
	return &c
}

// entry substitutes the value of a key. Scripts may use the shell's own ${NAME}.
func (s *scope) entry(e entry, sh *shape, upTo int) *node {
	f := sh.value(e.key)
	if e.key != keyCmds || e.value.form != list {
		return s.tree(e.value, f, upTo)
	}
	c := *e.value
	c.items = make([]*node, len(e.value.items))
	s.nodes += len(c.items)
	for i, item := range e.value.items {
		c.items[i] = s.expand(item, upTo, true)
	}
	return &c
}
