package pipeline

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Substitute replaces each ${name} in text by what lookup returns for the name. In full:
//
//   - A reference starts with "${" and ends at the next "}". Without such an end it is ordinary text.
//   - What stands between is the name, without white space around it. A name may hold any character but "}"; it may be
//     "%x". An empty name is an error, a [*SyntaxError].
//   - If what stands between begins and ends with "%" (a single "%" does both), it is an escape: the reference becomes
//     "${", what is left without the outer "%", and "}". So ${%a%} gives ${a}; ${%%} and ${%} give ${}.
//   - A name that lookup does not know is left as it stands, with its white space.
//   - What lookup returned is never looked at again, nor are escapes that were resolved.
//   - If text is exactly one reference to a known name, the result is the value with its kind; otherwise it is a string.
//
// Every text can be written as a template: Substitute(Escape(s), …) is s.
func Substitute(text string, lookup func(name string) (Value, bool)) (Value, error) {
	return substitute(text, 0, func(r ref) (Value, bool) { return lookup(r.name) })
}

// Escape returns the template that gives text: each complete ${…} is escaped.
func Escape(text string) string {
	return referenceRegex.ReplaceAllString(text, "$${%$1%}")
}

var referenceRegex = regexp.MustCompile(`\$\{([^}]*)\}`)

// A SyntaxError is a malformed reference in a template.
type SyntaxError struct {
	// Offset is the byte offset of the reference in the text.
	Offset int
	Msg    string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("at byte %d: %s", e.Offset, e.Msg) }

// ref is one reference in a template.
type ref struct {
	name   string
	token  string // the reference as it stands, from "${" to "}"
	offset int    // the byte offset of token
}

var errTooLong = errors.New("the text becomes too long")

// substitute is Substitute with more for lookup, and with a bound on the result's length in bytes (0 for none), which
// gives errTooLong.
func substitute(text string, limit int, lookup func(ref) (Value, bool)) (Value, error) {
	var b strings.Builder
	rest, offset := text, 0
	for {
		start := strings.Index(rest, "${")
		if start < 0 {
			break
		}
		length := strings.IndexByte(rest[start:], '}') + 1
		if length == 0 {
			break
		}
		b.WriteString(rest[:start])
		r := ref{token: rest[start : start+length], offset: offset + start}
		out, err := r.expand(lookup)
		if err != nil {
			return Value{}, err
		}
		if r.token == text && out.Kind != String {
			return out, nil
		}
		b.WriteString(out.Text)
		if limit > 0 && b.Len() > limit {
			return Value{}, errTooLong
		}
		rest, offset = rest[start+length:], offset+start+length
	}
	if offset == 0 {
		return StringValue(text), nil
	}
	b.WriteString(rest)
	return StringValue(b.String()), nil
}

func (r ref) expand(lookup func(ref) (Value, bool)) (Value, error) {
	inner := r.token[len("${") : len(r.token)-len("}")]
	if strings.HasPrefix(inner, "%") && strings.HasSuffix(inner, "%") {
		return StringValue("${" + inner[1:max(1, len(inner)-1)] + "}"), nil
	}
	r.name = strings.TrimSpace(inner)
	if r.name == "" {
		return Value{}, &SyntaxError{r.offset, `"${}" has no name; write ${%%} for the text itself`}
	}
	if v, ok := lookup(r); ok {
		return v, nil
	}
	return StringValue(r.token), nil
}
