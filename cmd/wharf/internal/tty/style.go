package tty

import (
	"strings"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker"
)

// Look says what a terminal can show.
type Look struct {
	// Colour allows colours and bold; every meaning is also there in a form or a word.
	Colour bool
	// Unicode allows characters beyond ASCII in what wharf itself writes.
	Unicode bool
}

type style string

const (
	normal style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// piece is text in one style; it is clean.
type piece struct {
	text  string
	style style
}

// row is one line of the screen: what does not fit of left is cut, right stays at the right edge.
type row struct {
	left  []piece
	right string
}

const minForRight = 24 // columns; a narrower screen shows no right part

// render returns the row as text of at most width cells, with SGR sequences if colours are allowed.
func (l Look) render(r row, width int) string {
	var b strings.Builder
	room := width
	if r.right != "" && width >= minForRight {
		room = width - text.Width(r.right) - 1
	} else {
		r.right = ""
	}
	used := 0
	for _, p := range r.left {
		cut := text.Truncate(p.text, room-used, l.ellipsis())
		l.write(&b, piece{cut, p.style})
		used += text.Width(cut)
		if cut != p.text {
			break
		}
	}
	if r.right != "" {
		b.WriteString(strings.Repeat(" ", max(1, room-used+1)))
		l.write(&b, piece{r.right, dim})
	}
	return strings.TrimRight(b.String(), " ")
}

func (l Look) write(b *strings.Builder, p piece) {
	if p.style == normal || !l.Colour || p.text == "" {
		b.WriteString(p.text)
		return
	}
	b.WriteString("\x1b[" + string(p.style) + "m" + p.text + "\x1b[0m")
}

func (l Look) ellipsis() string {
	if l.Unicode {
		return "…"
	}
	return "~"
}

var spinners = map[bool][]string{true: {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}, false: {"|", "/", "-", "\\"}}

// glyph returns the sign of a state; each has a form of its own, so that it needs no colour. tick turns the spinner.
func (l Look) glyph(s worker.State, tick int) piece {
	sign := func(unicode, ascii string) string {
		if l.Unicode {
			return unicode
		}
		return ascii
	}
	switch s {
	case worker.Preparing, worker.Starting:
		return piece{sign("◌", "o"), cyan}
	case worker.Running:
		frames := spinners[l.Unicode]
		return piece{frames[tick%len(frames)], cyan}
	case worker.Succeeded:
		return piece{sign("✓", "+"), green}
	case worker.Failed:
		return piece{sign("✗", "x"), red}
	case worker.Errored:
		return piece{"!", red}
	case worker.Cancelled:
		return piece{sign("■", "#"), yellow}
	case worker.Skipped:
		return piece{sign("↷", ">"), dim}
	}
	return piece{sign("·", "."), dim}
}

// bar is where a log line begins.
func (l Look) bar() string {
	if l.Unicode {
		return "│ "
	}
	return "| "
}

// rule is a line with a word in it.
func (l Look) rule() string {
	if l.Unicode {
		return "──"
	}
	return "--"
}
