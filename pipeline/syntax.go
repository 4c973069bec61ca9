package pipeline

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const (
	hintIndent = "check the indentation of this line and of those above it"
	hintSpaces = "use spaces"
	msgTab     = "a tab cannot indent"
)

// syntaxError reports what the YAML library refused.
func syntaxError(s *source, r *report, err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		r.at(s, pos{}, "this is no valid YAML: "+strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	place := pos{le.Mark.Line, le.Mark.Column}
	if place.line == 0 {
		place = pos{le.ContextMark.Line, le.ContextMark.Column}
	}
	context := pos{le.ContextMark.Line, le.ContextMark.Column}
	msg, hint := explain(s, le, place)
	if context.line > 0 && s.offset(place) >= len(strings.TrimSpace(s.text)) {
		place = context // the end of the file is not where the mistake is
	} else if context.line > 0 && context != place && msg == le.Message {
		msg += fmt.Sprintf(" %s that starts at %d:%d", le.ContextMsg, context.line, context.col)
	}
	if from, to := s.line(place.line); hint == "" && strings.Contains(s.text[from:to], "${") {
		hint = "inside of [ ] and { }, text with ${…} must stand in quotation marks"
	}
	r.at(s, place, "this is no valid YAML: "+msg).Hint = hint
}

// explain puts the YAML library's message into other words where its own are hard to understand.
func explain(s *source, le *yaml.LoadError, place pos) (msg, hint string) {
	context := pos{le.ContextMark.Line, le.ContextMark.Column}
	opened := fmt.Sprintf("what opens at %d:%d is not closed", context.line, context.col)
	switch msg := le.Message; {
	case strings.Contains(msg, "max depth"):
		return fmt.Sprintf("lists and maps are more than %d deep", MaxDepth), ""
	case strings.Contains(msg, "cannot start any token"):
		return badToken(s, place)
	case strings.Contains(msg, "tab character"):
		return msgTab, hintSpaces
	case strings.Contains(msg, "unknown anchor"):
		return "there is no anchor that this alias could refer to", s.inQuotes(place)
	case strings.Contains(le.ContextMsg, "an anchor"), strings.Contains(le.ContextMsg, "an alias"), strings.Contains(le.ContextMsg, "a tag"):
		return takesForMark(s.after(context, 1)), s.inQuotes(context)
	case strings.Contains(msg, "expected comment or line break"):
		return afterBlockMark(s, context)
	case strings.Contains(msg, "end of stream") && strings.Contains(le.ContextMsg, "quoted"):
		return "the quotation mark that opens here is not closed", ""
	case strings.Contains(msg, "unknown escape"):
		return "the backslash starts no escape that YAML knows", "between single quotation marks, '…', a backslash is an ordinary character"
	case strings.Contains(msg, "expected node content"):
		return "a value is missing, or a bracket is not closed", ""
	case strings.Contains(msg, "',' or ']'"):
		return `a "," or "]" is missing: ` + opened, ""
	case strings.Contains(msg, "',' or '}'"):
		return `a "," or "}" is missing: ` + opened, ""
	case strings.Contains(msg, "expected key"):
		return afterValue(s, place, "a key is expected here")
	case strings.Contains(msg, "expected '-' indicator"):
		return afterValue(s, place, `"- " is expected here`)
	case strings.Contains(msg, "could not find expected ':'"):
		return `a ":" is missing`, `a key is followed by ":", and an element of a list begins with "- "`
	case strings.Contains(msg, "mapping values are not allowed"):
		return `":" starts a value where none can stand`, colonHint(s, place)
	}
	return le.Message, ""
}

// takesForMark says that something does not count as text.
func takesForMark(mark string) string {
	return fmt.Sprintf("YAML takes %s for a mark of its own, not for text", quote(mark))
}

// badToken explains a character that cannot start a value.
func badToken(s *source, p pos) (msg, hint string) {
	c, _ := utf8.DecodeRuneInString(s.text[s.offset(p):])
	if c == '\t' {
		return msgTab, hintSpaces
	}
	return fmt.Sprintf("the character %q cannot start a value", c), s.inQuotes(p)
}

// afterBlockMark explains text in the line of a "|" or ">".
func afterBlockMark(s *source, mark pos) (msg, hint string) {
	msg = quote(s.after(mark, 1)) + " starts a text in the lines below it, so nothing can stand behind it"
	return msg, s.inQuotes(s.valueAt(mark.line))
}

// afterValue explains what stands behind a value in quotation marks or brackets, which ended too soon.
func afterValue(s *source, p pos, msg string) (string, string) {
	start := s.valueAt(p.line)
	c := s.after(start, 1)
	if start.col >= p.col || !strings.ContainsAny(c, `"'[{`) {
		return msg, hintIndent
	}
	if strings.ContainsAny(s.after(p, 1), "]}") {
		return msg, "no bracket is open that this one could close"
	}
	return fmt.Sprintf("the value that starts with %s at %d:%d has ended before this", c, start.line, start.col), s.inQuotes(start)
}

// missingSpace matches a line with a key that is part of a text, for want of a space.
var missingSpace = regexp.MustCompile(`^\s*(- +)*[A-Za-z][\w-]*:[^\s:/][^:]*$`)

// bareKey matches a line with a word and nothing else.
var bareKey = regexp.MustCompile(`^\s*(- +)*[\w-]+\s*$`)

// colonHint says why a colon is not taken for that of a key.
func colonHint(s *source, p pos) string {
	from, to := s.line(p.line - 1)
	switch above := s.text[from:to]; {
	case p.line > 1 && missingSpace.MatchString(above):
		return `in the line above, a space is missing behind the ":"`
	case p.line > 1 && bareKey.MatchString(above):
		return `in the line above, a ":" is missing at the end`
	}
	return `put text that contains ": " into quotation marks, and check the indentation`
}

// valueStart matches what stands in a line before its value.
var valueStart = regexp.MustCompile("^\\s*(?:- +)*(?:[^\\s\"'\\[\\]{},:#&*!|>%@`-][^:#]*: +)?")

// valueAt returns the place of the value in a line.
func (s *source) valueAt(line int) pos {
	from, _ := s.line(line)
	return s.pos(from + len(valueStart.FindString(s.after(pos{line, 1}, 4*window))))
}

// after returns up to n bytes of a line from a place on.
func (s *source) after(p pos, n int) string {
	_, to := s.line(p.line)
	at := min(s.offset(p), to)
	return s.text[at:min(at+n, to)]
}

// inQuotes says that the value at a place must be in quotation marks, and shows it so if it is short.
func (s *source) inQuotes(p pos) string {
	value, _, _ := strings.Cut(strings.TrimRight(s.after(p, 4*window), " \t"), " #")
	if value == "" {
		return "put the text into quotation marks"
	}
	c, _ := utf8.DecodeRuneInString(value)
	if c == '\'' {
		return "between ' and ', an apostrophe is written twice, as in 'it''s'"
	}
	if s.valueAt(p.line) != p { // it is in brackets or braces
		if i := strings.IndexAny(value[1:], ",]} \t"); i >= 0 {
			value = value[:i+1]
		}
	}
	hint := fmt.Sprintf("text that begins with %c must be in quotation marks", c)
	if len(value) > window || strings.Contains(value, "\t") {
		return hint
	}
	return hint + ": '" + clean(strings.ReplaceAll(value, "'", "''")) + "'"
}
