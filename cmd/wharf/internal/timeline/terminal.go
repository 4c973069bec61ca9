package timeline

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker/journal"
)

// Look is how a timeline is drawn on a terminal.
type Look struct {
	// Width is in columns.
	Width           int
	Colour, Unicode bool
}

// marks are what the phases are drawn with: without colours they tell them apart by themselves.
var marks = map[string]struct {
	letter, block string
	colour        int // of SGR
}{
	Queue:               {".", "·", 90},
	journal.PhasePull:   {"p", "▒", 35},
	journal.PhaseCreate: {"c", "░", 36},
	journal.PhaseStart:  {"s", "▓", 33},
	journal.PhaseRun:    {"#", "█", 32},
	journal.PhaseCopy:   {"o", "▄", 34},
}

// Terminal draws the timeline in rows, one a step, with the sums of each phase behind it.
func (t Timeline) Terminal(w io.Writer, l Look) error {
	label := 0
	for _, s := range t.Steps {
		label = max(label, text.Width(s.label()))
	}
	label = min(label, l.Width/3)
	bar := max(20, l.Width-label-28)
	out := &strings.Builder{}
	fmt.Fprintf(out, "build %s %s, %s\n", text.Line(t.Build), text.Line(string(t.State)), text.Duration(t.To.Sub(t.From)))
	if t.Reason != "" {
		fmt.Fprintln(out, text.Line(t.Reason))
	}
	out.WriteString("\n")
	stage := ""
	for _, s := range t.Steps {
		if s.Stage != stage {
			stage = s.Stage
			fmt.Fprintln(out, text.Line(stage))
		}
		fmt.Fprintf(out, "  %s %s %s\n", pad(text.Truncate(s.label(), label, "…"), label), t.bar(s, bar, l), s.words())
	}
	out.WriteString("\n" + legend(l) + "\n")
	_, err := io.WriteString(w, out.String())
	return err
}

func (s Step) label() string { return text.Line(s.Name) }

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-text.Width(s)))
}

// bar draws the spans of a step on the axis of the build. What is shorter than a column still shows if there is room.
func (t Timeline) bar(s Step, width int, l Look) string {
	cells := make([]string, width)
	whole := max(t.To.Sub(t.From), 1)
	at := func(when time.Time) int {
		return min(width, max(0, int(float64(when.Sub(t.From))/float64(whole)*float64(width))))
	}
	for _, span := range s.Spans {
		from := min(at(span.From), width-1)
		for i := from; i < max(at(span.To), from+1); i++ {
			if cells[i] == "" || i >= from+1 || span.Phase == journal.PhaseRun {
				cells[i] = span.Phase
			}
		}
	}
	var b strings.Builder
	last := ""
	for _, phase := range cells {
		if l.Colour && phase != last {
			b.WriteString("\x1b[0m")
			if phase != "" {
				fmt.Fprintf(&b, "\x1b[%dm", marks[phase].colour)
			}
			last = phase
		}
		switch {
		case phase == "":
			b.WriteString(" ")
		case l.Unicode:
			b.WriteString(marks[phase].block)
		default:
			b.WriteString(marks[phase].letter)
		}
	}
	if l.Colour && last != "" {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// words are the state and the longest parts of the step's time.
func (s Step) words() string {
	if len(s.Spans) == 0 {
		return text.Line(string(s.State))
	}
	words := text.Duration(s.Sum(journal.PhaseRun))
	if s.State != journal.Succeeded {
		words += " " + text.Line(string(s.State))
	}
	other := time.Duration(0)
	for _, span := range s.Spans {
		if span.Phase != journal.PhaseRun {
			other += span.To.Sub(span.From)
		}
	}
	if other > 0 {
		words += ", +" + text.Duration(other)
	}
	return words
}

func legend(l Look) string {
	var parts []string
	for _, phase := range Phases {
		m := marks[phase]
		mark := m.letter
		if l.Unicode {
			mark = m.block
		}
		if l.Colour {
			mark = fmt.Sprintf("\x1b[%dm%s\x1b[0m", m.colour, mark)
		}
		parts = append(parts, mark+" "+phase)
	}
	return strings.Join(parts, "  ")
}
