package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTop(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		n          int
		want       []Word
	}{
		{"nothing", "", 3, []Word{}},
		{"case and punctuation", "To be, or not to BE!", 2, []Word{{"be", 2}, {"to", 2}}},
		{"fewer than asked for", "one", 5, []Word{{"one", 1}}},
		{"none asked for", "one", -1, []Word{}},
		{"other alphabets", "żółw Żółw don't", 2, []Word{{"żółw", 2}, {"don't", 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			words, err := Count(strings.NewReader(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := words.Top(tc.n); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestCountReportsErrors(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Count(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
