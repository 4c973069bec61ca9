package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testLookup(name string) (Value, bool) {
	v, ok := map[string]Value{
		"x": {Text: "X"}, "a-b": {Text: "kebab"}, "n": {Number, "1.10"}, "b": {Bool, "true"}, "%x": {Text: "percent"},
		"evil": {Text: "${x} ${%x%}"}, "with space": {Text: "ws"}, "%": {Text: "never"}, "$x": {Text: "dollar"}, "empty": {},
	}[name]
	return v, ok
}

func TestSubstitute(t *testing.T) {
	tests := []struct {
		in   string
		want Value
	}{
		{"", Value{}},
		{"plain $x {x} $ {x}", Value{Text: "plain $x {x} $ {x}"}},
		{"${x}", Value{Text: "X"}},
		{"${ x }", Value{Text: "X"}},
		{"${\tx\n}", Value{Text: "X"}},
		{"<${x}${x}>", Value{Text: "<XX>"}},
		{"${a-b}", Value{Text: "kebab"}},
		{"${with space}", Value{Text: "ws"}},
		{"${empty}", Value{}},
		// A single reference keeps its kind, and nothing else does.
		{"${n}", Value{Number, "1.10"}},
		{"${b}", Value{Bool, "true"}},
		{" ${n}", Value{Text: " 1.10"}},
		{"${n}${b}", Value{Text: "1.10true"}},
		// Escapes.
		{"${%x%}", Value{Text: "${x}"}},
		{"${%%}", Value{Text: "${}"}},
		{"${%}", Value{Text: "${}"}},
		{"${%   %}", Value{Text: "${   }"}},
		{"${%%%}", Value{Text: "${%}"}},
		{"${%%x%%}", Value{Text: "${%x%}"}},
		{"${%x%}${x}", Value{Text: "${x}X"}},
		{"${%x}", Value{Text: "percent"}},
		{"${x%}", Value{Text: "${x%}"}},
		{"${ %x% }", Value{Text: "${ %x% }"}},
		// Unknown names stay, white space and all; so do unfinished references.
		{"${HOME}", Value{Text: "${HOME}"}},
		{"${ HOME }", Value{Text: "${ HOME }"}},
		{"${X:-${x}}", Value{Text: "${X:-${x}}"}},
		{"${x", Value{Text: "${x"}},
		{"${x} ${", Value{Text: "X ${"}},
		{"$${x}", Value{Text: "$X"}},
		{`\${x}`, Value{Text: `\X`}},
		{"${$x}", Value{Text: "dollar"}},
		{"#{x} ${#a[@]}", Value{Text: "#{x} ${#a[@]}"}},
		// What comes out is not looked at again.
		{"${evil}", Value{Text: "${x} ${%x%}"}},
		{"a ${evil}", Value{Text: "a ${x} ${%x%}"}},
		{"${%${x%}", Value{Text: "${${x}"}},
	}
	for _, tt := range tests {
		got, err := Substitute(tt.in, testLookup)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("Substitute(%q): %v (-want +got):\n%s", tt.in, err, diff)
		}
	}
}

func TestSubstitute_emptyName(t *testing.T) {
	for in, offset := range map[string]int{"${}": 0, "a ${ }": 2, "${x}${\n}": 4} {
		_, err := Substitute(in, testLookup)
		bad, ok := errors.AsType[*SyntaxError](err)
		if !ok || bad.Offset != offset {
			t.Errorf("Substitute(%q): error %v, want a SyntaxError at %d", in, err, offset)
		}
	}
}

func TestSubstitute_bounded(t *testing.T) {
	_, err := substitute("${x}${x}", 3, func(ref) (Value, bool) { return Value{Text: "ab"}, true })
	if !errors.Is(err, errTooLong) {
		t.Errorf("error %v, want %v", err, errTooLong)
	}
}

func ExampleSubstitute() {
	v, err := Substitute("push ${ name } to ${registry}, print ${%name%} and ${HOME}", func(name string) (Value, bool) {
		vars := map[string]string{"name": "web", "registry": "registry.example.com"}
		text, ok := vars[name]
		return StringValue(text), ok
	})
	fmt.Println(v, err)
	// Output: push web to registry.example.com, print ${name} and ${HOME} <nil>
}

func ExampleEscape() {
	fmt.Println(Escape("echo ${HOME}"))
	// Output: echo ${%HOME%}
}

func FuzzSubstitute(f *testing.F) {
	for _, s := range []string{
		"", "${x}", "${%x%}", "${%%}", "${%}", "${}", "${ x }", "${x", "${%${x%}", "a${b}c", "${X:-${x}}", "${%a}b%}", "$${x}}", "${%%%%}",
	} {
		f.Add(s, "v${x}")
	}
	f.Fuzz(func(t *testing.T, in, value string) {
		none := func(string) (Value, bool) { return Value{}, false }
		// Escaping is exact.
		if got, err := Substitute(Escape(in), none); err != nil || got.Text != in {
			t.Errorf("Substitute(Escape(%q)) = %q, %v", in, got.Text, err)
		}
		// Values are never looked at again: each is there in full, once for each use.
		var uses int
		got, err := Substitute(in, func(string) (Value, bool) { uses++; return Value{Text: "\x01" + value + "\x02"}, true })
		if err != nil {
			return
		}
		if n := strings.Count(got.Text, "\x01"+value+"\x02"); n < uses {
			t.Errorf("Substitute(%q) = %q has the value %d times, want %d", in, got.Text, n, uses)
		}
		// Without variables only escapes change anything.
		if got, err := Substitute(in, none); err == nil && !strings.Contains(in, "${%") && got.Text != in {
			t.Errorf("Substitute(%q) = %q without variables", in, got.Text)
		}
	})
}
