package pipeline

import (
	"fmt"
	"regexp"
	"strings"
)

// mend says how a value of the wrong form could be written instead, or nothing.
func (c *checker) mend(n *node, s *shape) string {
	switch {
	case n.form == nothing:
		return c.mendNothing(n, s)
	case s.hint != "":
		return s.hint
	case s.kind == aList && n.form == mapping:
		return `a list has a line with "- " for each element`
	case s.kind == aList:
		return `a list has brackets, [a, b], or a line with "- " for each element`
	case s.kind == anObject:
		return "its keys are " + strings.Join(s.names(), ", ")
	case (s.kind == anInt || s.kind == anIntOr || s.kind == aBool) && n.quoted && !n.substituted && literal(n.text):
		return "write it without quotation marks"
	case s.kind != aText && s.kind != aScalar:
		return ""
	case n.form == mapping:
		return `put text that contains ": " or starts with "{" into quotation marks`
	case n.form == list && c.source.after(n.pos, 1) == "[":
		return `brackets make a list: leave them away, or put text that starts with "[" into quotation marks`
	}
	return ""
}

// literal tells whether a text would be a number or a boolean without its quotation marks.
func literal(text string) bool {
	_, isNumber := parseNumber(text)
	_, isBool := parseBool(text)
	return isNumber || isBool
}

// noSpace matches a key that took in its value, for want of a space.
var noSpace = regexp.MustCompile(`^["']?[\w.-]+:[^\s:]`)

// mendNothing finds out why there is no value: n has the place of its key, or of the end of a "- ".
func (c *checker) mendNothing(n *node, s *shape) string {
	_, to := c.source.line(n.pos.line)
	rest := strings.TrimLeft(c.source.after(n.pos, to), " \t")
	switch {
	case strings.HasPrefix(rest, "#"), strings.HasPrefix(rest, "&"):
		return c.source.inQuotes(c.source.pos(to - len(rest)))
	case noSpace.MatchString(rest):
		return `a space is missing behind the ":"`
	case s.empty:
		return `write "" for an empty text`
	}
	return ""
}

// memoryUnit guesses the unit that was meant by one of another notation, or returns an empty string.
func memoryUnit(unit string) string {
	u := strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "B"))
	if u == "" || u == "k" {
		return u
	}
	return strings.ToUpper(u[:1]) + u[1:]
}

// amount matches a number with a unit, with space between them or not.
var amount = regexp.MustCompile(`^([0-9.]+) *([A-Za-z]+)$`)

// durationUnits are what people write instead of Go's units, in lower case and without an "s" at the end.
var durationUnits = map[string]string{
	"sec": "s", "second": "s", "min": "m", "minute": "m", "hr": "h", "hour": "h", "h": "h", "m": "m", "": "s",
}

// mendDuration guesses what was meant by a duration in another notation, or returns an empty string.
func mendDuration(s string) string {
	m := amount.FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	unit := strings.TrimSuffix(strings.ToLower(m[2]), "s")
	if unit == "d" || unit == "day" {
		return "there is no unit for days: 24h is a day"
	}
	guess := m[1] + durationUnits[unit]
	if _, err := parseDuration(guess); err != nil || guess == m[1] {
		return ""
	}
	return didYouMean(guess)
}

// mendMemory does so for an amount of memory.
func mendMemory(s string) string {
	m := amount.FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	guess := m[1] + memoryUnit(m[2])
	if _, err := parseMemory(guess); err != nil {
		return ""
	}
	return didYouMean(guess)
}

// mendCPU does so for a number of cores.
func mendCPU(s string) string {
	m := amount.FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	guess := m[1]
	if u := strings.ToLower(m[2]); u == "m" || strings.HasPrefix(u, "mill") {
		guess += "m"
	}
	if _, err := parseCPU(guess); err != nil {
		return ""
	}
	return didYouMean(guess)
}

// asMap is the hint for a map in place of which there is something else.
func asMap(example string) string {
	return fmt.Sprintf(`a map looks like %s, or has a line "name: value" for each entry`, example)
}
