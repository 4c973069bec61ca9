package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checker holds values against shapes. Before substitution (final is false) it leaves the content of templates alone;
// afterwards it looks at everything.
type checker struct {
	source *source
	report *report
	final  bool
}

// check reports everything in which n does not fit s. what names the place in messages: "image", "a container step".
func (c *checker) check(n *node, s *shape, what string) {
	switch s.kind {
	case aList:
		c.list(n, s, what)
	case aMap:
		c.mapping(n, s, what)
	case anObject:
		c.object(n, s, what)
	case anIntOr:
		if n.form == list || n.form == mapping {
			c.check(n, s.elem, what)
			return
		}
		c.scalar(n, s, what)
	default:
		c.scalar(n, s, what)
	}
}

// wrong reports a value of the wrong form.
func (c *checker) wrong(n *node, s *shape, what string) {
	found := n.form.String()
	switch {
	case n.secret:
		found = n.show()
	case n.scalar():
		found += " " + n.show()
	}
	e := c.report.at(c.source, n.pos, fmt.Sprintf("%s must be %s, but this is %s", what, s.expects(), found))
	if e.Msg != "" && e.Hint == "" && !n.secret {
		e.Hint = c.mend(n, s)
	}
}

func (c *checker) list(n *node, s *shape, what string) {
	if n.form != list {
		c.wrong(n, s, what)
		return
	}
	if len(n.items) < s.atLeast {
		c.report.at(c.source, n.pos, what+" must not be empty")
	}
	for i, item := range n.items {
		c.check(item, s.elem, "element "+strconv.Itoa(i+1)+" of "+what)
	}
}

func (c *checker) mapping(n *node, s *shape, what string) {
	if n.form != mapping {
		c.wrong(n, s, what)
		return
	}
	if len(n.entries) < s.atLeast {
		c.report.at(c.source, n.pos, what+" must not be empty")
	}
	for _, e := range n.entries {
		if s.checkKey != nil {
			if err := s.checkKey(e.key); err != nil {
				c.report.at(c.source, e.pos, fmt.Sprintf("the key %s of %s %v", quote(e.key), what, err))
			}
		}
		c.check(e.value, s.elem, quote(e.key)+" of "+what)
	}
}

func (c *checker) object(n *node, s *shape, what string) {
	if n.form != mapping {
		c.wrong(n, s, what)
		return
	}
	meant := map[string]bool{} // the keys that unknown ones were taken for
	for _, e := range n.entries {
		f := s.field(e.key)
		if f == nil {
			meant[c.unknown(e, s, what)] = true
			continue
		}
		if e.value.form != nothing {
			c.check(e.value, f.shape, quote(e.key))
		}
	}
	for _, f := range s.fields {
		if f.required && n.at(f.name) == nil && !meant[f.name] {
			c.report.at(c.source, n.pos, fmt.Sprintf("%s needs the key %s", what, quote(f.name))).Hint = f.shape.desc
		}
	}
	for _, r := range s.rules {
		if !slices.ContainsFunc(r.keys, func(k string) bool { return meant[k] }) {
			c.rule(n, r, what)
		}
	}
}

// unknown reports a key and returns the known one that it seems to stand for, or an empty string.
func (c *checker) unknown(e entry, s *shape, what string) (meant string) {
	err := c.report.at(c.source, e.pos, fmt.Sprintf("%s has no key %s", what, quote(e.key)))
	if err.Msg == "" { // it was dropped, and a hostile file can have very many
		return ""
	}
	meant = nearest(e.key, s.names())
	switch {
	case meant != "":
		err.Hint = didYouMean(meant)
	case e.key == keyRunIf || e.key == keyEnvironments:
		err.Hint = quote(e.key) + " belongs to the stage, beside its steps"
	default:
		err.Hint = "known keys are " + strings.Join(s.names(), ", ")
	}
	return meant
}

func (c *checker) rule(n *node, r rule, what string) {
	given := 0
	for _, k := range r.keys {
		if v := n.at(k); v != nil && (v.form != list || len(v.items) > 0) {
			given++
		}
	}
	switch {
	case given == 0:
		c.report.at(c.source, n.pos, fmt.Sprintf("%s needs the key %s", what, oneOf(r.keys)))
	case given > 1 && r.exactlyOne:
		c.report.at(c.source, n.pos, fmt.Sprintf("%s can have only one of the keys %s", what, oneOf(r.keys)))
	}
}

// scalar checks a single value.
func (c *checker) scalar(n *node, s *shape, what string) {
	if !n.scalar() {
		c.wrong(n, s, what)
		return
	}
	if !s.literal && !c.final && strings.Contains(n.text, "${") {
		c.template(n)
		return
	}
	switch s.kind {
	case aBool:
		if _, ok := n.bool(); !ok {
			c.wrong(n, s, what)
		}
		return
	case anInt, anIntOr:
		c.integer(n, s, what)
		return
	}
	err := s.refuses(n.text)
	if err != nil && n.secret {
		err = errors.New("has a value that does not fit, but it is not shown since it holds a secret")
	}
	if err != nil {
		e := c.report.at(c.source, n.pos, fmt.Sprintf("%s %v", what, err))
		if h, ok := errors.AsType[*hinted](err); ok {
			e.Hint = h.hint
		} else if len(s.enum) > 0 && !n.secret {
			e.suggest(n.text, s.enum)
		}
	}
}

func (c *checker) integer(n *node, s *shape, what string) {
	v, ok := n.int()
	if !ok {
		c.wrong(n, s, what)
		return
	}
	if v < s.min || v > s.max {
		c.report.at(c.source, n.pos, fmt.Sprintf("%s must be from %d to %d, but this is %s", what, s.min, s.max, n.show()))
	}
}

// refuses says why the shape does not take a text, as the end of a sentence that starts with the place.
func (s *shape) refuses(t string) error {
	var err error
	switch s.kind {
	case aDuration:
		_, err = parseDuration(t)
		return withHint(err, mendDuration, t)
	case aCPU:
		_, err = parseCPU(t)
		return withHint(err, mendCPU, t)
	case aMemory:
		_, err = parseMemory(t)
		return withHint(err, mendMemory, t)
	}
	switch {
	case t == "" && !s.empty && s.kind == aText:
		return errors.New("must not be empty")
	case strings.Contains(t, "\x00"):
		return errors.New("must not contain a NUL character")
	}
	if len(s.enum) > 0 {
		for _, e := range s.enum {
			if t == e {
				return nil
			}
		}
		return fmt.Errorf("must be %s, but this is %s", oneOf(s.enum), quote(t))
	}
	if s.check != nil && t != "" {
		return s.check(t)
	}
	return nil
}

// template reports a malformed reference in a text that is not substituted yet.
func (c *checker) template(n *node) {
	_, err := substitute(n.text, 0, func(ref) (Value, bool) { return Value{}, false })
	if bad, ok := errors.AsType[*SyntaxError](err); ok {
		c.report.atRef(c.source, n, bad.Offset, bad.Msg)
	}
}

// findRef returns the place of the reference at a byte offset of the text of n.
func (s *source) findRef(n *node, offset int) pos {
	token := n.text[offset:]
	if i := strings.IndexByte(token, '}'); i >= 0 {
		token = token[:i+1]
	}
	return s.find(n, token, strings.Count(n.text[:offset], token))
}

// bool returns the value of a boolean. Text counts if it is plain or came out of a template.
func (n *node) bool() (value, ok bool) {
	if n == nil || n.form != boolean && n.quoted && !n.substituted {
		return false, false
	}
	return parseBool(n.text)
}

// int returns the value of a whole number. Text counts if it came out of a template.
func (n *node) int() (int, bool) {
	if n == nil || n.form != integer && n.form != decimal && !n.substituted {
		return 0, false
	}
	f, ok := parseNumber(n.text)
	return int(f), ok && f == float64(int(f))
}

// container checks what a table cannot say about a container step: the size of its matrix and the order of its limits.
func (c *checker) container(n *node) {
	if m := n.at("matrix"); m != nil && m.form == mapping {
		size := 1
		for _, e := range m.entries {
			size = min(size*max(1, len(e.value.items)), MaxMatrix+1)
		}
		if size > MaxMatrix {
			c.report.at(c.source, m.pos, fmt.Sprintf("the matrix makes more than %d steps", MaxMatrix))
		}
	}
	res := n.at("resources")
	for _, f := range []struct {
		name  string
		parse func(string) (int64, error)
	}{{"cpu", parseCPU}, {"memory", parseMemory}} {
		reserved, limit := res.at(f.name), res.at("limits").at(f.name)
		if reserved == nil || limit == nil {
			continue
		}
		r, err1 := f.parse(reserved.text)
		l, err2 := f.parse(limit.text)
		if err1 == nil && err2 == nil && l < r {
			c.report.at(c.source, limit.pos, fmt.Sprintf("the limit %s is less than what is reserved, %s", limit.show(), reserved.show()))
		}
	}
}
