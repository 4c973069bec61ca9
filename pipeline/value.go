package pipeline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Kind is the kind of a Value.
type Kind string

// The kinds. The zero Value is an empty string.
const (
	String Kind = ""
	Bool   Kind = "bool"
	Number Kind = "number"
)

// A Value is a variable's value: a string, a bool or a number.
type Value struct {
	Kind Kind
	// Text is the value as text: "true" or "false" for a bool; for a number as it was written, so that 1.10 stays 1.10.
	Text string
}

// StringValue returns a Value of kind String.
func StringValue(s string) Value { return Value{Text: s} }

// String returns the value's text.
func (v Value) String() string { return v.Text }

// MarshalJSON writes a string, a bool or a number. A number that JSON cannot express as written (such as 0x1f) is
// written in decimal, and one that has no finite value as a string.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.Kind {
	case Bool:
		return strconv.AppendBool(nil, v.Text == "true"), nil
	case Number:
		if v = v.plain(); v.Kind == Number {
			return []byte(v.Text), nil
		}
	}
	return json.Marshal(v.Text)
}

// plain writes a number in decimal if JSON cannot express it as written. One that is no finite number becomes a string.
func (v Value) plain() Value {
	if v.Kind != Number || json.Valid([]byte(v.Text)) {
		return v
	}
	f, ok := parseNumber(v.Text)
	if !ok {
		return StringValue(v.Text)
	}
	text := strings.TrimPrefix(strings.ReplaceAll(v.Text, "_", ""), "+")
	for _, base := range []int{10, 0} { // a leading zero alone means nothing
		if n, err := strconv.ParseInt(text, base, 64); err == nil {
			return Value{Number, strconv.FormatInt(n, 10)}
		}
	}
	b, err := json.Marshal(f)
	if err != nil {
		return StringValue(v.Text)
	}
	return Value{Number, string(b)}
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (v *Value) UnmarshalJSON(data []byte) error {
	switch {
	case len(data) == 0 || string(data) == "null":
		return fmt.Errorf("a value is a string, a bool or a number, not %q", data)
	case data[0] == '"':
		*v = Value{}
		return json.Unmarshal(data, &v.Text)
	case data[0] == 't' || data[0] == 'f':
		*v = Value{Bool, string(data)}
	case data[0] == '-' || '0' <= data[0] && data[0] <= '9':
		*v = Value{Number, string(data)}
	default:
		return fmt.Errorf("a value is a string, a bool or a number, not %q", data)
	}
	return nil
}
