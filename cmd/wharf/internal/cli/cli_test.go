package cli

import (
	"strings"
	"testing"
)

// What a definition or a runtime says is quoted in messages, and must not reach the terminal as it is.
func TestWarnIsSafe(t *testing.T) {
	var out strings.Builder
	warn(&out, "build failed: no\x1b[2Jbody\x1b]0;title\x07 %s\n\tsecond", "here\x9b\r\u202e")
	if want := "wharf: build failed: nobody here\ufffd\n\tsecond\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
