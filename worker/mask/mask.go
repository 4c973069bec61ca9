// Package mask hides secrets in text that comes in pieces.
package mask

import (
	"bytes"
	"slices"
	"strings"
)

// Replacement stands for a secret.
const Replacement = "***"

// shortest is the length below which a line of a secret of several lines is no secret of its own, such as "}".
const shortest = 4

// Secrets is a set of texts to hide. The zero value hides nothing. It is immutable and safe for concurrent use.
type Secrets struct {
	patterns [][]byte
	longest  int
}

// New returns the set of the secrets. Empty ones are left out. Logs are lines: of a secret of several
// lines each line is hidden, without the white space around it, if it has at least four bytes.
func New(secrets ...string) *Secrets {
	var patterns []string
	for _, s := range secrets {
		s = strings.TrimRight(s, "\r\n")
		lines := strings.Split(s, "\n")
		for _, line := range lines {
			if len(lines) > 1 {
				line = strings.TrimSpace(line)
			}
			if line != "" && (len(lines) == 1 || len(line) >= shortest) {
				patterns = append(patterns, line)
			}
		}
	}
	slices.Sort(patterns)
	set := &Secrets{}
	for _, p := range slices.Compact(patterns) {
		set.patterns = append(set.patterns, []byte(p))
		set.longest = max(set.longest, len(p))
	}
	return set
}

// Empty reports whether there is nothing to hide.
func (s *Secrets) Empty() bool { return s == nil || len(s.patterns) == 0 }

// String returns text with the secrets hidden.
func (s *Secrets) String(text string) string {
	if s.Empty() || !s.within([]byte(text)) {
		return text
	}
	l := Line{secrets: s}
	return string(l.Next([]byte(text), false))
}

func (s *Secrets) within(text []byte) bool {
	for _, p := range s.patterns {
		if bytes.Contains(text, p) {
			return true
		}
	}
	return false
}

// span is a part of a text, from a to b.
type span struct{ a, b int }

// find returns what to hide in text, in order; spans that touch are one.
func (s *Secrets) find(spans []span, text []byte) []span {
	for _, p := range s.patterns {
		for from := 0; ; {
			i := bytes.Index(text[from:], p)
			if i < 0 {
				break
			}
			spans = append(spans, span{from + i, from + i + len(p)})
			from += i + 1
		}
	}
	slices.SortFunc(spans, func(x, y span) int { return x.a - y.a })
	merged := spans[:0]
	for _, sp := range spans {
		if n := len(merged) - 1; n >= 0 && sp.a < merged[n].b {
			merged[n].b = max(merged[n].b, sp.b)
		} else {
			merged = append(merged, sp)
		}
	}
	return merged
}

// pending is the length of the longest end of text that a secret may begin with.
func (s *Secrets) pending(text []byte) int {
	for n := min(len(text), s.longest-1); n > 0; n-- {
		end := text[len(text)-n:]
		for _, p := range s.patterns {
			if len(p) > n && bytes.HasPrefix(p, end) {
				return n
			}
		}
	}
	return 0
}

// Line hides secrets in one line that comes in pieces, also those that two pieces share. After the last piece it is ready
// for the next line. It is used by one goroutine at a time.
type Line struct {
	secrets *Secrets
	held    []byte // the end of what came so far, not yet returned
	hidden  int    // how many bytes of held a Replacement that was returned stands for
	data    []byte
	out     []byte
	spans   []span
}

// NewLine returns a Line that hides s.
func NewLine(s *Secrets) *Line { return &Line{secrets: s} }

// Next returns the piece with the secrets hidden. If partial is set, more of the line follows, and an end of the piece
// that may be the beginning of a secret is held back until then. The result is valid until the next
// call, and may be piece itself.
func (l *Line) Next(piece []byte, partial bool) []byte {
	s := l.secrets
	if s.Empty() {
		return piece
	}
	if len(l.held) == 0 && !partial && !s.within(piece) {
		return piece
	}
	l.data = append(append(l.data[:0], l.held...), piece...)
	l.spans = l.spans[:0]
	if l.hidden > 0 {
		l.spans = append(l.spans, span{0, l.hidden})
	}
	l.spans = s.find(l.spans, l.data)
	end := len(l.data)
	if partial {
		end -= s.pending(l.data)
	}
	l.write(end)
	return l.out
}

// write makes out of data up to end, and holds the rest back.
func (l *Line) write(end int) {
	l.out = l.out[:0]
	at, hidden := 0, 0
	for _, sp := range l.spans {
		told := sp.a == 0 && l.hidden > 0
		if sp.a >= end && !told {
			break
		}
		l.out = append(l.out, l.data[at:sp.a]...)
		if !told {
			l.out = append(l.out, Replacement...)
		}
		at = min(sp.b, end)
		hidden = max(0, sp.b-end)
	}
	l.out = append(l.out, l.data[at:end]...)
	l.held = append(l.held[:0], l.data[end:]...)
	l.hidden = hidden
	if end == len(l.data) {
		l.hidden = 0
	}
}
