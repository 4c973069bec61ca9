package tty

import (
	"fmt"
	"strings"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker"
)

// group is a row of the tree for a stage, or for several in one (then stage is nil).
type group struct {
	row   row
	stage *stage
}

// groups returns a row for each stage; if that is too much, those that have ended share one, and those that wait.
func (v *view) groups(room int) []group {
	active := 0
	for _, st := range v.stages {
		if st.active() {
			active += 1 + min(len(st.steps), 3)
		}
	}
	joinWaiting := len(v.stages)+active > room
	var groups []group
	add := func(stages []*stage, joined bool, word string) {
		if joined && len(stages) > 1 {
			groups = append(groups, group{row: v.joined(stages, word)})
			return
		}
		for _, st := range stages {
			groups = append(groups, group{v.stageRow(st), st})
		}
	}
	var ended, waiting, working []*stage
	for _, st := range v.stages {
		switch {
		case st.active():
			working = append(working, st)
		case st.state == worker.Waiting || len(working) > 0:
			waiting = append(waiting, st)
		default:
			ended = append(ended, st)
		}
	}
	joinEnded := joinWaiting && len(ended)+active+min(len(waiting), 1) > room
	add(ended, joinEnded, "stages ended")
	first := len(groups) // of those at work: they stay longest
	add(working, false, "")
	add(waiting, joinWaiting, "more stages")
	if over := len(groups) - room; over > 0 {
		groups = groups[min(over, first):]
	}
	return groups[:min(len(groups), max(room, 0))]
}

func (v *view) joined(stages []*stage, word string) row {
	names := make([]string, len(stages))
	state := stages[0].state
	for i, st := range stages {
		names[i] = st.name
		if st.state == worker.Failed || st.state == worker.Errored {
			state = st.state
		}
	}
	return row{left: []piece{v.look.glyph(state, v.tick), {fmt.Sprintf(" %d %s: %s", len(stages), word, strings.Join(names, ", ")), dim}}}
}

func (v *view) stageRow(st *stage) row {
	left := []piece{v.look.glyph(st.state, v.tick), {" " + st.name, bold}}
	right := ""
	switch {
	case st.state == worker.Waiting:
		left[1].style = dim
	case st.state == worker.Skipped:
		left[1].style = dim
		left = append(left, piece{"  skipped", dim})
	case st.state.Final():
		left = append(left, piece{"  " + plural(len(st.steps), "step"), dim})
		right = text.Duration(span(st.started, st.ended, v.now))
	default:
		right = text.Duration(span(st.started, st.ended, v.now))
	}
	if st.reason != "" && st.state.Final() {
		left = append(left, piece{"  " + st.reason, dim})
	}
	return row{left: left, right: right}
}

func (v *view) stepRow(s *step) row {
	left := []piece{{"  ", normal}, v.look.glyph(s.state, v.tick), {" " + s.name, normal}}
	if s.state == worker.Waiting {
		left[2].style = dim
	}
	if s.attempt > 1 {
		left = append(left, piece{fmt.Sprintf("  attempt %d", s.attempt), yellow})
	}
	if words := v.words(s); words != "" {
		left = append(left, piece{"  " + words, dim})
	}
	right := ""
	if s.state != worker.Waiting && !(s.state.Final() && s.started.IsZero()) { // one that never ran took no time
		right = text.Duration(s.elapsed(v.now))
	}
	return row{left: left, right: right}
}

// words says what a step does beyond its sign.
func (v *view) words(s *step) string {
	switch s.state {
	case worker.Preparing:
		if p, image, ok := v.pull(s); ok {
			return "pulling " + text.Line(image) + progress(p)
		}
		return "preparing"
	case worker.Starting:
		return "starting"
	case worker.Failed, worker.Errored, worker.Cancelled, worker.Skipped:
		return s.reason
	}
	return ""
}

func progress(p pull) string {
	if p.total > 0 {
		return fmt.Sprintf("  %s of %s", text.Bytes(p.done), text.Bytes(p.total))
	}
	if p.status != "" {
		return "  " + p.status
	}
	return ""
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
