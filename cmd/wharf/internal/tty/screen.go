package tty

import (
	"bytes"
	"io"
	"slices"
	"strconv"
)

// Sequences of ECMA-48 and of DEC terminals; a terminal that does not know one ignores it.
const (
	syncBegin  = "\x1b[?2026h" // hold back what is drawn until syncEnd
	syncEnd    = "\x1b[?2026l"
	cursorHide = "\x1b[?25l"
	cursorShow = "\x1b[?25h"
	wrapOff    = "\x1b[?7l" // cut long lines: a screen that just became narrower must not get more rows than were drawn
	wrapOn     = "\x1b[?7h"
	eraseLine  = "\x1b[K" // to its end
	eraseBelow = "\x1b[J" // from the cursor to the end of the screen
	// eraseFrame is eraseBelow at the beginning of a line. At the first cell of the screen some terminals (tmux) would keep all that it
	// erases in the scrollback, so it begins one cell further, after a space that is drawn over.
	eraseFrame = " " + eraseBelow + "\r"
)

// Screen draws frames below what is already on a terminal, each over the one before, with a single write.
//
// Between frames the cursor stands at the beginning of the first line. A terminal that is resized may break
// the lines of a frame anew, in ways that differ from one terminal to another, but it moves the cursor along with the text:
// so whatever happened, everything from the cursor on is the old frame, and nothing above it is.
type Screen struct {
	w     io.Writer
	shown []string
	width int
	rows  int
	buf   bytes.Buffer
}

// NewScreen returns a screen on a terminal. Nothing is written yet.
func NewScreen(w io.Writer) *Screen { return &Screen{w: w} }

// Draw shows the lines, at most height of them; each must be narrower than the width, since the last column cannot be
// written without either scrolling or being erased on some terminals. Lines that have not changed are not written again.
func (s *Screen) Draw(lines []string, width, height int) error {
	lines = lines[:min(len(lines), height)]
	if len(lines) == 0 {
		lines = []string{""}
	}
	whole := s.shown == nil || width != s.width || height != s.rows
	if !whole && slices.Equal(lines, s.shown) {
		return nil
	}
	s.begin()
	if whole {
		s.buf.WriteString(eraseFrame)
	}
	for i, line := range lines {
		if i > 0 {
			s.buf.WriteString("\r\n")
		}
		if whole || i >= len(s.shown) || line != s.shown[i] {
			s.buf.WriteString(line + eraseLine)
		}
	}
	if !whole && len(s.shown) > len(lines) {
		s.buf.WriteString("\r\n" + eraseBelow)
		s.up(len(lines))
	} else {
		s.up(len(lines) - 1)
	}
	s.shown, s.width, s.rows = append(s.shown[:0], lines...), width, height
	s.buf.WriteString(wrapOn + syncEnd)
	return s.flush()
}

// Finish takes the frame away, writes the lines in its place so that they stay, and shows the cursor below them. The screen
// can be drawn on again.
func (s *Screen) Finish(lines []string) error {
	s.begin()
	s.buf.WriteString(eraseFrame + wrapOn)
	for _, line := range lines {
		s.buf.WriteString(line + "\r\n")
	}
	s.buf.WriteString(cursorShow + syncEnd)
	s.shown = nil
	return s.flush()
}

func (s *Screen) begin() {
	s.buf.Reset()
	s.buf.WriteString(syncBegin + cursorHide + wrapOff + "\r")
}

func (s *Screen) up(n int) {
	s.buf.WriteByte('\r')
	if n > 0 {
		s.buf.WriteString("\x1b[" + strconv.Itoa(n) + "A")
	}
}

func (s *Screen) flush() error {
	_, err := s.w.Write(s.buf.Bytes())
	return err
}
