package tty

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker"
)

const (
	maxTail  = 8                      // log lines shown of one running step
	minTail  = 2                      // of them, those for which steps that do not run are folded away
	turn     = 100 * time.Millisecond // the spinner's step
	minLines = 2                      // a screen with fewer rows shows the last line only
)

// View returns the build as it is at now, in at most height lines of at most width cells. What matters most stays when there is
// little room: the state of all, then failed and running steps, then stages, then some of the logs, then what has ended, then what waits.
func (m *Model) View(l Look, width, height int, now time.Time) []string {
	v := view{Model: m, look: l, now: now, tick: int(now.UnixMilli() / turn.Milliseconds())}
	rows := v.rows(height)
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = l.render(r, width)
	}
	return lines
}

type view struct {
	*Model
	look Look
	now  time.Time
	tick int
}

func (v *view) rows(height int) []row {
	foot := v.footer()
	if height < minLines {
		return foot[len(foot)-1:]
	}
	foot = foot[max(0, len(foot)-height+1):]
	room := height - len(foot)
	body := v.tree(room)
	if len(body) < room && v.title != "" {
		body = append([]row{{left: []piece{{v.title, bold}}}}, body...)
	}
	return append(body, foot...)
}

// footer is the state of the whole, under the newest warning and the notice.
func (v *view) footer() []row {
	var rows []row
	if n := len(v.warnings); n > 0 && !v.state.Final() {
		rows = append(rows, row{left: []piece{{"warning: " + v.warnings[n-1], yellow}}})
	}
	if v.notice != "" {
		rows = append(rows, row{left: []piece{{v.notice, yellow}}})
	}
	ended, all := v.count()
	left := []piece{v.look.glyph(v.state, v.tick), {fmt.Sprintf(" %d of %s ended", ended, plural(all, "step")), normal}}
	if n := v.failures(); n > 0 {
		left = append(left, piece{fmt.Sprintf(", %d failed", n), red})
	}
	return append(rows, row{left: left, right: text.Duration(span(v.started, v.ended, v.now))})
}

func (v *view) failures() (n int) {
	for _, s := range v.steps {
		if s.state == worker.Failed || s.state == worker.Errored {
			n++
		}
	}
	return n
}

// tree is the stages with the steps of those at work, in at most room rows.
func (v *view) tree(room int) []row {
	stages := v.groups(room)
	steps := 0 // rows there are for steps
	for _, st := range v.stages {
		if st.active() {
			steps += len(st.steps)
		}
	}
	left := room - len(stages)
	shown := v.choose(steps)
	hidden, output := 0, v.output(shown)+1 // and the title
	if steps+output > left && steps > 0 {
		shown = v.choose(min(left-1, max(v.telling(), left-1-output))) // one row says what is not there
		if hidden = steps - len(shown); hidden == 1 && steps <= left {
			shown, hidden = v.choose(steps), 0
		}
	}
	tails := v.tails(shown, left-len(shown)-min(hidden, 1)-1)
	var rows []row
	more := 0 // where the row about hidden steps goes
	for _, g := range stages {
		rows = append(rows, g.row)
		if g.stage != nil && g.stage.active() {
			rows = append(rows, v.stepRows(g.stage, shown, tails)...)
			more = len(rows)
		}
	}
	if hidden > 0 && len(rows) < room {
		words := fmt.Sprintf("    and %s: %s", plural(hidden, "more step"), v.hiddenStates(shown))
		rows = slices.Insert(rows, more, row{left: []piece{{words, dim}}})
	}
	return rows
}

// byWeight orders the states of steps by how much a person wants to see them.
var byWeight = []worker.State{
	worker.Errored, worker.Failed, worker.Running, worker.Starting, worker.Preparing,
	worker.Cancelled, worker.Succeeded, worker.Skipped, worker.Waiting,
}

func weight(s worker.State) int { return slices.Index(byWeight, s) }

// telling counts the steps at work that should not be folded away: those that failed, and those that run or soon will.
func (v *view) telling() (n int) {
	for _, st := range v.stages {
		for _, s := range st.steps {
			if st.active() && weight(s.state) <= weight(worker.Preparing) {
				n++
			}
		}
	}
	return n
}

// choose returns the n steps at work that matter most.
func (v *view) choose(n int) map[*step]bool {
	var all []*step
	for _, st := range v.stages {
		if st.active() {
			all = append(all, st.steps...)
		}
	}
	slices.SortStableFunc(all, func(a, b *step) int { return cmp.Compare(weight(a.state), weight(b.state)) })
	chosen := map[*step]bool{}
	for _, s := range all[:max(0, min(n, len(all)))] {
		chosen[s] = true
	}
	return chosen
}

// output counts the rows that the output of steps which run is worth, if it need not be more than a little.
func (v *view) output(shown map[*step]bool) (rows int) {
	for s := range shown {
		if s.talks() {
			rows += min(minTail, s.tail.n)
		}
	}
	return rows
}

// tails shares the rows that are left among the steps that run, line by line: it returns how many lines of each are shown.
func (v *view) tails(shown map[*step]bool, room int) map[*step]int {
	lines := map[*step]int{}
	for n := 1; n <= maxTail; n++ {
		for _, st := range v.stages {
			for _, s := range st.steps {
				if room > 0 && shown[s] && s.talks() && s.tail.n >= n {
					lines[s], room = n, room-1
				}
			}
		}
	}
	return lines
}

// talks reports whether the step's output is worth showing while it goes on.
func (s *step) talks() bool { return s.state == worker.Running || s.state == worker.Starting }

func (v *view) stepRows(st *stage, shown map[*step]bool, tails map[*step]int) []row {
	var rows []row
	for _, s := range st.steps {
		if !shown[s] {
			continue
		}
		rows = append(rows, v.stepRow(s))
		for _, line := range s.tail.last(tails[s]) {
			rows = append(rows, row{left: []piece{{"    " + v.look.bar(), dim}, {line, dim}}})
		}
	}
	return rows
}

// hiddenStates counts the steps at work that are not shown, by state.
func (v *view) hiddenStates(shown map[*step]bool) string {
	counts := map[worker.State]int{}
	var order []worker.State
	for _, st := range v.stages {
		for _, s := range st.steps {
			if st.active() && !shown[s] {
				if counts[s.state] == 0 {
					order = append(order, s.state)
				}
				counts[s.state]++
			}
		}
	}
	slices.SortFunc(order, func(a, b worker.State) int { return cmp.Compare(weight(a), weight(b)) })
	words := make([]string, len(order))
	for i, state := range order {
		words[i] = fmt.Sprintf("%d %s", counts[state], state)
	}
	return strings.Join(words, ", ")
}
