package pipeline

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// pos is a place in a source. Line and column count from 1, the column in characters; the zero pos is no place.
type pos struct{ line, col int }

// source is a file's text with an index of its lines. A nil source has a name and no text. It is immutable.
type source struct {
	file  string
	text  string
	lines []int // the byte offset at which each line starts
	ascii bool  // a character is a byte
}

func newSource(file, text string) *source {
	s := &source{file: file, text: text, lines: []int{0}, ascii: true}
	for i := 0; i < len(text); {
		n := breakLen(text[i:])
		if n == 0 {
			s.ascii = s.ascii && text[i] < utf8.RuneSelf
			i++
			continue
		}
		s.ascii = s.ascii && text[i] < utf8.RuneSelf
		i += n
		s.lines = append(s.lines, i)
	}
	return s
}

// breakLen is the length of the line break at the start of s, or 0. These are the breaks that the YAML library counts.
func breakLen(s string) int {
	switch {
	case strings.HasPrefix(s, "\r\n"), strings.HasPrefix(s, "\u0085"):
		return 2
	case strings.HasPrefix(s, "\u2028"), strings.HasPrefix(s, "\u2029"):
		return 3
	case s[0] == '\n' || s[0] == '\r':
		return 1
	}
	return 0
}

// line returns the byte offsets of a line's start and end, without its break.
func (s *source) line(n int) (from, to int) {
	if n < 1 || n > len(s.lines) {
		return len(s.text), len(s.text)
	}
	from, to = s.lines[n-1], len(s.text)
	if n < len(s.lines) {
		to = s.lines[n]
		for _, br := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
			if strings.HasSuffix(s.text[from:to], br) {
				to -= len(br)
				break
			}
		}
	}
	return from, to
}

// offset returns the byte offset of a place, at most that of the line's end.
func (s *source) offset(p pos) int {
	from, to := s.line(p.line)
	if s.ascii {
		return min(from+p.col-1, to)
	}
	for c := 1; c < p.col && from < to; c++ {
		_, n := utf8.DecodeRuneInString(s.text[from:to])
		from += n
	}
	return from
}

// pos returns the place of a byte offset.
func (s *source) pos(offset int) pos {
	offset = min(offset, len(s.text))
	line := sort.SearchInts(s.lines, offset+1)
	col := offset - s.lines[line-1]
	if !s.ascii {
		col = utf8.RuneCountInString(s.text[s.lines[line-1]:offset])
	}
	return pos{line, col + 1}
}

// window is how many characters of a line a message shows before and after its place.
const window = 60

// problem makes an Error for a place.
func (s *source) problem(p pos, msg string) *Error {
	e := &Error{Msg: clean(msg)}
	if s == nil {
		return e
	}
	e.File = s.file
	if p.line < 1 {
		return e
	}
	e.Line, e.Column = p.line, p.col
	from, to := s.line(p.line)
	if from == to {
		return e
	}
	at := s.offset(p)
	before, after := []rune(s.text[max(from, at-4*window):at]), []rune(s.text[at:min(to, at+4*window)])
	if utf8.RuneCountInString(s.text[from:min(to, from+8*window)]) > 2*window || len(before) > 2*window {
		before = before[max(0, len(before)-window):]
		after = after[:min(len(after), window)]
	}
	e.Source = clean(string(before) + string(after))
	e.SourceColumn = len(before) + 1
	return e
}

// clean replaces what could control a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) && !unicode.Is(unicode.Cf, r) || bidi(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// bidi tells whether r changes the direction of what follows, which can make a line look like another.
func bidi(r rune) bool {
	return 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}

// caret returns the line to print under text so that a caret stands under its column.
func caret(text string, col int) string {
	var b strings.Builder
	i := 1
	for _, r := range text {
		if i >= col {
			break
		}
		i++
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String() + "^"
}

// find returns the place of the text token in the source of the scalar n: that of its occurrence number skip, from 0.
// If it is not there literally (escapes in a quoted scalar, a name broken over lines) it is the place of n itself.
func (s *source) find(n *node, token string, skip int) pos {
	start := s.offset(n.pos)
	area := s.text[start:min(len(s.text), start+8*len(n.text)+4096)]
	at := 0
	for {
		i := strings.Index(area[at:], token)
		if i < 0 {
			return n.pos
		}
		if skip--; skip < 0 {
			return s.pos(start + at + i)
		}
		at += i + len(token)
	}
}

// quote formats a name for a message, shortened and without control characters.
func quote(name string) string {
	const most = 80
	if len(name) > most {
		if r := []rune(name[:min(len(name), (most+1)*utf8.UTFMax)]); len(r) > most {
			name = string(r[:most-1]) + "…"
		}
	}
	return fmt.Sprintf("%q", name)
}
