package clone

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wharfci/wharf/worker/mask"
)

// progress prints what Git says, line by line: masked, and without what could move, erase or pretend on a terminal.
type progress struct {
	secrets *mask.Secrets
	redraw  time.Duration

	mu sync.Mutex
	w  io.Writer
}

// say prints a line of our own.
func (p *progress) say(format string, args ...any) {
	p.print(clean([]byte(p.secrets.String(fmt.Sprintf(format, args...)))))
}

// print prints a line. A reader that is gone stops nothing.
func (p *progress) print(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		_, _ = io.WriteString(p.w, line+"\n")
	}
}

// stream takes the standard error of one run of Git.
func (p *progress) stream(quiet bool) *stream { return &stream{p: p, quiet: quiet} }

const (
	longLine = 4 << 10 // of a longer line the rest is left out
	kept     = 10      // lines, for the error
	longWord = 500     // of a longer line the error leaves out the rest: a log keeps it as one line
)

// stream is the standard error of one run. It is used by one goroutine at a time.
type stream struct {
	p     *progress
	quiet bool
	line  []byte
	cut   bool // the line was longer
	last  []string
	drawn time.Time // when a line that will be drawn over was printed

	returned bool // the line has ended with a carriage return, so far
}

func (s *stream) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 {
		if s.returned { // ssh ends lines with both
			s.flush(data[0] != '\n')
			s.returned = false
			data = bytes.TrimPrefix(data, []byte("\n"))
			continue
		}
		i := bytes.IndexAny(data, "\r\n")
		if i < 0 {
			s.add(data)
			break
		}
		s.add(data[:i])
		if s.returned = data[i] == '\r'; !s.returned {
			s.flush(false)
		}
		data = data[i+1:]
	}
	return n, nil
}

func (s *stream) add(data []byte) {
	room := longLine - len(s.line)
	s.cut = s.cut || len(data) > room
	s.line = append(s.line, data[:min(room, len(data))]...)
}

// idle are lines that tell of work, and are of no use in an error.
var idle = regexp.MustCompile(`^(remote: )?(Enumerating|Counting|Compressing|Receiving|Resolving|Updating|Unpacking|Total) |^Cloning into |^From `)

// flush ends the line. One that will be drawn over is printed now and then, and forgotten.
func (s *stream) flush(redrawn bool) {
	text := s.text()
	if text == "" {
		return
	}
	if redrawn {
		if s.drawn.IsZero() {
			s.drawn = time.Now() // most displays are complete before the first is due
		}
		if time.Since(s.drawn) < s.p.redraw {
			return
		}
		s.drawn = time.Now()
	} else if line := plainText(text); !idle.MatchString(line) {
		if len(line) > longWord {
			line = strings.ToValidUTF8(line[:longWord], "") + "…"
		}
		s.last = append(s.last, line)
		s.last = s.last[max(0, len(s.last)-kept):]
	}
	if !s.quiet {
		s.p.print(text)
	}
}

// text takes the line out, masked and clean.
func (s *stream) text() string {
	l := mask.NewLine(s.p.secrets)
	text := clean(l.Next(s.line, s.cut)) // the beginning of a secret at the end of what was cut goes too
	text = s.p.secrets.String(text)      // and one that had control characters in it
	if s.cut {
		text += "…"
	}
	s.line, s.cut = s.line[:0], false
	return text
}

// end returns the last lines.
func (s *stream) end() []string {
	s.flush(false)
	return s.last
}

// clean removes control characters and escape sequences but those of colours, and makes UTF-8 of the rest.
func clean(line []byte) string {
	var b strings.Builder
	coloured := false
	for len(line) > 0 {
		if n, colour := escape(line); n > 0 {
			if colour {
				b.Write(line[:n])
				coloured = true
			}
			line = line[n:]
			continue
		}
		r, n := utf8.DecodeRune(line)
		if r == '\t' || !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Zl, r) && !unicode.Is(unicode.Zp, r) {
			b.WriteRune(r)
		}
		line = line[n:]
	}
	if coloured {
		b.WriteString("\x1b[0m")
	}
	return strings.TrimRight(b.String(), " \t")
}

// escape returns the length of the control sequence (ESC [ …) at the start of a line, 0 if there is none, and whether it is one of colours.
func escape(line []byte) (n int, colour bool) {
	if len(line) < 2 || line[0] != 0x1b || line[1] != '[' {
		return 0, false
	}
	i, digits := 2, true
	for i < len(line) && line[i] >= 0x20 && line[i] < 0x40 {
		digits = digits && (line[i] >= '0' && line[i] <= '9' || line[i] == ';')
		i++
	}
	if i == len(line) {
		return i, false
	}
	return i + 1, digits && line[i] == 'm'
}

// plainText is a clean line without colours, for an error.
func plainText(line string) string {
	var b strings.Builder
	for rest := []byte(line); len(rest) > 0; {
		if n, _ := escape(rest); n > 0 {
			rest = rest[n:]
			continue
		}
		b.WriteByte(rest[0])
		rest = rest[1:]
	}
	return strings.TrimSpace(b.String())
}
