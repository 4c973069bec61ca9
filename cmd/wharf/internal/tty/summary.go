package tty

import (
	"fmt"
	"math"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker"
)

// Summary returns the lines that stay on the terminal when the build has ended: its stages and steps with their times,
// the last lines of what failed, warnings, and the result.
func (m *Model) Summary(l Look, width int, now time.Time) []string {
	v := view{Model: m, look: l, now: now}
	var rows []row // the tree is cut to the screen; what follows it is for reading, and wraps
	for _, st := range m.stages {
		rows = append(rows, v.stageRow(st))
		if st.state == worker.Waiting || st.state == worker.Skipped {
			continue
		}
		for _, s := range st.steps {
			rows = append(rows, v.stepRow(s))
		}
	}
	tree := len(rows)
	for _, st := range m.stages {
		for _, s := range st.steps {
			rows = append(rows, v.failure(st, s)...)
		}
	}
	rows = append(rows, v.listed()...)
	rows = append(rows, v.result())
	lines := make([]string, len(rows))
	for i, r := range rows {
		if i >= tree {
			width = math.MaxInt
		}
		lines[i] = l.render(r, width)
	}
	return lines
}

// failure is the end of the log of a step that failed.
func (v *view) failure(st *stage, s *step) []row {
	if s.state != worker.Failed && s.state != worker.Errored {
		return nil
	}
	head := fmt.Sprintf(" %s/%s: %s", st.name, s.name, s.reason)
	rows := []row{{}, {left: []piece{{v.look.rule(), red}, {head, bold}}}}
	for _, line := range s.tail.last(tailLines) {
		rows = append(rows, row{left: []piece{{v.look.bar(), dim}, {line, normal}}})
	}
	if s.tail.n > tailLines {
		rows = append(rows, row{left: []piece{{fmt.Sprintf("(the last %d of %d lines)", tailLines, s.tail.n), dim}}})
	}
	return rows
}

func (v *view) listed() []row {
	rows := []row{{}}
	for _, words := range v.tests {
		rows = append(rows, row{left: []piece{{words, normal}}})
	}
	for _, words := range v.warnings {
		rows = append(rows, row{left: []piece{{"warning: " + words, yellow}}})
	}
	return rows
}

func (v *view) result() row {
	mark := v.look.glyph(v.state, 0)
	left := []piece{mark, {" build " + string(v.state), mark.style}}
	left = append(left, piece{" after " + text.Duration(span(v.started, v.ended, v.now)), normal})
	if v.reason != "" {
		left = append(left, piece{": " + v.reason, normal})
	}
	return row{left: left}
}
