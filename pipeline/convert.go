package pipeline

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// textUnit is how many bytes of a text count as much as a key or value of its own, since each use of an alias costs time
// for its text too.
const textUnit = 256

// converter makes our tree of the YAML library's: it follows aliases within bounds, applies merge keys and finds
// duplicate keys.
type converter struct {
	source *source
	report *report
	nodes  int
	failed bool                // a bound was exceeded, the tree is of no use
	open   map[*yaml.Node]bool // the anchored nodes around the one at hand
}

func (c *converter) fail(y *yaml.Node, msg string) *node {
	if !c.failed {
		c.report.at(c.source, place(y), msg)
	}
	c.failed = true
	return &node{pos: place(y)}
}

func place(y *yaml.Node) pos { return pos{max(1, y.Line), max(1, y.Column)} }

func (c *converter) convert(y *yaml.Node, depth int) *node {
	if c.nodes++; c.failed || c.nodes > MaxNodes {
		return c.fail(y, fmt.Sprintf("there are more than %d keys and values, counting every use of an alias", MaxNodes))
	}
	if depth > 2*MaxDepth {
		return c.fail(y, fmt.Sprintf("lists and maps are more than %d deep", MaxDepth))
	}
	c.nodes += len(y.Value) / textUnit
	c.marks(y)
	switch y.Kind {
	case yaml.AliasNode:
		return c.alias(y, depth)
	case yaml.SequenceNode, yaml.MappingNode:
		if y.Anchor == "" {
			return c.collection(y, depth)
		}
		if c.open == nil {
			c.open = map[*yaml.Node]bool{}
		}
		c.open[y] = true
		defer delete(c.open, y)
		return c.collection(y, depth)
	}
	return c.scalar(y)
}

// marks reports what YAML takes for a tag or an anchor but nobody means as one, such as the first character of "! grep x"
// and of "&& make", which would vanish.
func (c *converter) marks(y *yaml.Node) {
	lost := ""
	switch {
	case y.Kind == yaml.AliasNode:
		return
	case y.Tag == "!":
		lost = "!"
	case y.Anchor != "" && strings.Trim(y.Anchor, "&") == "":
		lost = "&" + y.Anchor
	default:
		return
	}
	c.mark(y, takesForMark(lost))
}

// mark reports a mark of YAML that may have been meant as text.
func (c *converter) mark(y *yaml.Node, msg string) {
	if e := c.report.at(c.source, place(y), msg); e.Msg != "" {
		e.Hint = c.source.inQuotes(place(y))
	}
}

func (c *converter) alias(y *yaml.Node, depth int) *node {
	if y.Alias == nil || c.open[y.Alias] {
		return c.fail(y, fmt.Sprintf("the alias *%s stands inside of what it refers to, which has no end", clean(y.Value)))
	}
	return c.convert(y.Alias, depth+1)
}

func (c *converter) collection(y *yaml.Node, depth int) *node {
	if t := y.ShortTag(); t != "!!map" && t != "!!seq" {
		c.report.at(c.source, place(y), fmt.Sprintf("the YAML tag %s is not supported", clean(t)))
	}
	n := &node{form: list, pos: place(y)}
	if y.Kind == yaml.MappingNode {
		n.form = mapping
		n.entries = c.entries(y, depth)
		return n
	}
	n.items = make([]*node, 0, len(y.Content))
	for _, item := range y.Content {
		n.items = append(n.items, c.convert(item, depth+1))
	}
	return n
}

// entries converts the keys and values of a map. A merge key gives way to every other key of the map.
func (c *converter) entries(y *yaml.Node, depth int) []entry {
	own := make(map[string]pos, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		if key.ShortTag() == "!!merge" {
			continue
		}
		name, ok := c.key(key)
		if !ok {
			continue
		}
		if first, ok := own[name]; ok {
			c.report.at(c.source, place(key), fmt.Sprintf("the key %s stands here twice, first in line %d", quote(name), first.line))
			continue
		}
		own[name] = place(key)
	}
	entries := make([]entry, 0, len(own))
	done := make(map[string]bool, len(own))
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if key.ShortTag() == "!!merge" {
			for _, e := range c.merged(value, depth) {
				if _, ok := own[e.key]; !ok && !done[e.key] {
					done[e.key] = true
					entries = append(entries, e)
				}
			}
			continue
		}
		n := c.convert(value, depth+1)
		if n.form == nothing {
			n.pos = place(key)
		}
		if name, ok := c.name(key); ok && !done[name] {
			done[name] = true
			entries = append(entries, entry{name, place(key), n})
		}
	}
	return entries
}

// merged returns the entries that the value of a merge key brings: a map's, or those of a list of maps, the first of
// which wins.
func (c *converter) merged(y *yaml.Node, depth int) []entry {
	n := c.convert(y, depth+1)
	switch n.form {
	case mapping:
		return n.entries
	case list:
		var all []entry
		for _, item := range n.items {
			if item.form != mapping {
				c.report.at(c.source, place(y), fmt.Sprintf(`"<<" merges maps, not %s`, item.form))
				return nil
			}
			all = append(all, item.entries...)
		}
		return all
	}
	if !c.failed {
		c.report.at(c.source, place(y), fmt.Sprintf(`"<<" merges a map or a list of maps, not %s`, n.form))
	}
	return nil
}

// key returns the text of a key, and reports one that is no text.
func (c *converter) key(y *yaml.Node) (string, bool) {
	name, ok := c.name(y)
	c.nodes += 1 + len(name)/textUnit
	if !ok {
		c.report.at(c.source, place(y), "a key must be text")
	}
	return name, ok
}

// name returns the text of a key; numbers and booleans are taken as they are written.
func (c *converter) name(y *yaml.Node) (string, bool) {
	if y.Kind == yaml.AliasNode && y.Alias != nil {
		y = y.Alias
	}
	return y.Value, y.Kind == yaml.ScalarNode && y.ShortTag() != "!!null"
}

const quotedStyle = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

func (c *converter) scalar(y *yaml.Node) *node {
	n := &node{form: text, pos: place(y), text: y.Value, quoted: y.Style&quotedStyle != 0}
	tag := y.ShortTag()
	switch tag {
	case "!!null":
		n.form = nothing
	case "!!int":
		n.form = integer
	case "!!float":
		n.form = decimal
	case "!!bool":
		n.form = boolean
		n.text = strings.ToLower(n.text)
	case "!!str", "!!timestamp", "!!merge", "":
	default:
		c.mark(y, fmt.Sprintf("the YAML tag %s is not supported", clean(tag)))
	}
	if bad := wrongTag(n); bad {
		if y.Style&yaml.TaggedStyle != 0 {
			c.report.at(c.source, n.pos, fmt.Sprintf("%s is not %s, as its tag %s says", quote(n.text), n.form, tag))
		}
		n.form = text // .inf and .nan, which no field can use
	}
	return n
}

// wrongTag tells whether a number or boolean cannot be read as such.
func wrongTag(n *node) bool {
	switch n.form {
	case integer, decimal:
		_, ok := parseNumber(n.text)
		return !ok
	case boolean:
		_, ok := parseBool(n.text)
		return !ok
	}
	return false
}

// parseNumber reads a number in one of YAML's notations. It must be finite.
func parseNumber(s string) (float64, bool) {
	s = strings.ReplaceAll(s, "_", "")
	if rest, ok := strings.CutPrefix(s, "+"); ok && !strings.HasPrefix(rest, "+") && !strings.HasPrefix(rest, "-") {
		s = rest
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f-f == 0 && !strings.ContainsAny(s, "xXpP") {
		return f, true
	}
	i, err := strconv.ParseInt(s, 0, 64)
	return float64(i), err == nil
}

// parseBool reads a boolean in one of the notations that YAML 1.1 and 1.2 know.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "y":
		return true, true
	case "false", "no", "off", "n":
		return false, true
	}
	return false, false
}
