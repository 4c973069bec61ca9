package main

import (
	"bufio"
	"cmp"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Words holds how often each word was seen, in lower case.
type Words map[string]int

// Word is a word with its number.
type Word struct {
	Text  string
	Times int
}

// Count reads text up to its end. A word is a run of letters, digits and apostrophes.
func Count(r io.Reader) (Words, error) {
	words := Words{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		for _, w := range strings.FieldsFunc(line, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\''
		}) {
			words[strings.ToLower(w)]++
		}
		if err == io.EOF {
			return words, nil
		}
		if err != nil {
			return words, err
		}
	}
}

// Top returns the n most frequent words, the most frequent first, and those of equal number in alphabetical order.
func (w Words) Top(n int) []Word {
	all := make([]Word, 0, len(w))
	for text, times := range w {
		all = append(all, Word{text, times})
	}
	slices.SortFunc(all, func(a, b Word) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.Text, b.Text))
	})
	return all[:max(0, min(n, len(all)))]
}
