// Package text makes what a build printed safe to show, and measures it.
//
// A step may print anything: cursor movements, a title for the window, half a character. What is shown on a
// person's terminal keeps the words and, if wanted, the colours, and nothing that could move, erase or pretend.
package text

import (
	"bytes"
	"unicode/utf8"
)

// Options say what Append keeps beside the words.
type Options struct {
	// Colour keeps SGR sequences (colours, bold), and ends a line that had one with a reset.
	Colour bool
	// TabStop replaces a tab by spaces up to the next multiple of it; 0 keeps tabs.
	TabStop int
}

const reset = "\x1b[0m"

// Append appends line to dst as a terminal would show it, without a newline: of a progress display that rewrites its
// line with carriage returns the last state stays; escape sequences and control characters go; bytes that are no UTF-8 become
// U+FFFD.
func Append(dst, line []byte, o Options) []byte {
	line = bytes.TrimRight(line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	if harmless(line, o.TabStop == 0) {
		return append(dst, line...)
	}
	start, coloured := len(dst), false
	for len(line) > 0 {
		switch c := line[0]; {
		case c == 0x1b:
			n := escape(line)
			if o.Colour && isColour(line[:n]) {
				dst, coloured = append(dst, line[:n]...), true
			}
			line = line[n:]
		case c == '\t':
			dst = appendTab(dst, start, o.TabStop)
			line = line[1:]
		case c < 0x20 || c == 0x7f:
			line = line[1:]
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			line = line[1:]
		default:
			r, n := utf8.DecodeRune(line)
			if !hidden(r) {
				dst = utf8.AppendRune(dst, r)
			}
			line = line[n:]
		}
	}
	if coloured {
		dst = append(dst, reset...)
	}
	return dst
}

// Clean is Append for a line as a string, without colours, with tabs as spaces.
func Clean(line string) string {
	return string(Append(nil, []byte(line), Options{TabStop: 8}))
}

// harmless reports whether there is nothing to do, which is so for nearly every line.
func harmless(line []byte, tabs bool) bool {
	for _, c := range line {
		if c < 0x20 && !(tabs && c == '\t') || c >= 0x7f {
			return false
		}
	}
	return true
}

func appendTab(dst []byte, start, stop int) []byte {
	if stop == 0 {
		return append(dst, '\t')
	}
	for range stop - Width(string(dst[start:]))%stop {
		dst = append(dst, ' ')
	}
	return dst
}

// escape returns the length of the escape sequence at the start of line, at least 1. A sequence that does not end is
// taken to be its introduction alone, so that it hides no text.
func escape(line []byte) int {
	if len(line) < 2 {
		return 1
	}
	switch c := line[1]; {
	case c == '[':
		i := 2
		for i < len(line) && line[i] >= 0x20 && line[i] < 0x40 {
			i++
		}
		if i < len(line) && line[i] >= 0x40 && line[i] < 0x7f {
			i++
		}
		return i
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_':
		return max(2, stringEnd(line))
	case c >= 0x20 && c < 0x30:
		i := 1
		for i < len(line) && line[i] >= 0x20 && line[i] < 0x30 {
			i++
		}
		return min(i+1, len(line))
	case c >= 0x30 && c < 0x7f:
		return 2
	}
	return 1
}

// isColour reports whether an escape sequence is one of colours. One with other characters between, such as "?" or ">", sets something
// else of the terminal, also if it ends in m.
func isColour(seq []byte) bool {
	n := len(seq)
	if n < 3 || seq[1] != '[' || seq[n-1] != 'm' {
		return false
	}
	for _, c := range seq[2 : n-1] {
		if (c < '0' || c > '9') && c != ';' && c != ':' {
			return false
		}
	}
	return true
}

// stringEnd returns the end of a control string (title, hyperlink), or 0 if it does not end on this line.
func stringEnd(line []byte) int {
	for i := 2; i < len(line); i++ {
		switch {
		case line[i] == 0x07:
			return i + 1
		case line[i] == 0x1b && i+1 < len(line) && line[i+1] == '\\':
			return i + 2
		}
	}
	return 0
}

// hidden reports characters that show nothing of their own and can make text look like another: C1 controls, line
// separators, and marks that turn the direction of writing.
func hidden(r rune) bool {
	switch {
	case r >= 0x80 && r < 0xa0, r == 0x061c, r == 0xfeff, r >= 0xe0000 && r < 0xe0080:
		return true
	case r >= 0x200e && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}
