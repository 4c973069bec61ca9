package provisioner

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner/report"
)

// member is one worker. Its fields belong to the fleet's lock.
type member struct {
	task      driver.Task
	worker    Worker // what is known of its history; see shown
	limits    []limit
	project   string
	mark      string
	concluded bool // how it ended is known
	read      bool // somebody reads its log
	begun     bool // this provisioner has started it, whether or not the runtime has told so yet
	met       bool // it had been started, by others, when this provisioner first saw it
	refusal   string
	seen      time.Time // when this provisioner first saw it
	old       bool      // it was there before this provisioner followed: what it did until then is not counted
	behind    bool      // what it did until then is not read yet
	deleted   bool      // by this provisioner
	released  bool      // somebody has taken everything
	swept     bool      // all that its build has left is removed
	started   bool      // that it was started is counted, or was before this provisioner followed
}

// shown is a worker as others see it. One that this provisioner has not followed from its beginning is where the runtime says, until its own record is read.
func (m *member) shown() Worker {
	w := m.worker
	to, why := State(""), m.task.Reason
	switch m.task.State {
	case driver.StateUnknown:
		if m.task.Incomplete && w.State == Queued {
			w.Reason = byHalf
		}
	case driver.StateStarting:
		to = Preparing
	case driver.StateRunning:
		to = Running
	case driver.StateEnded:
		to, why = Running, "it has ended, and its log is being read"
		if w.State == Queued && !m.begun && !m.met { // it was stopped while it waited
			w.Reason, w.Position = why, 0
			return w
		}
	}
	if order[to] > order[w.State] {
		w.State, w.Reason, w.Position = to, reasonOf(to, why), 0
	}
	return w
}

// byHalf is why one that is no whole task does not start.
const byHalf = "it is being made or removed; if whoever was at it has died, what there is of it is removed in some minutes"

// step brings a worker to where its task stands. How one ended is told by its log and its result: see read.
func (f *fleet) step(m *member, s driver.State, reason string, at time.Time) {
	if s < m.task.State { // a list may be older than what is known, and a node that does not answer takes nothing back
		return
	}
	news := s > m.task.State || reason != m.task.Reason
	further := s > m.task.State
	m.task.State, m.task.Reason = s, reason
	if !news || m.worker.State.Final() {
		return
	}
	to := map[driver.State]State{driver.StateStarting: Preparing, driver.StateRunning: Running}[s]
	switch {
	case further && order[to] > order[m.worker.State]:
		f.enter(m, to, "", reason, at)
	case to == m.worker.State:
		m.worker.Reason = reasonOf(to, reason)
		f.publish(m)
	default:
		f.publish(m)
	}
}

// enter notes that a worker has come into a state. One that it was in before, of which is heard only now, gets its place in the history. The cause is for
// the metrics, and one of few.
func (f *fleet) enter(m *member, s State, cause, reason string, at time.Time) {
	w := &m.worker
	if w.State == Removed || w.State.Final() && s.Final() && s != Removed || slices.ContainsFunc(w.History, func(c Change) bool { return c.State == s }) {
		return
	}
	if at.IsZero() {
		at = time.Now()
	}
	reason = reasonOf(s, reason)
	i := len(w.History)
	for i > 1 && order[w.History[i-1].State] > order[s] {
		i--
	}
	w.History = slices.Insert(slices.Clone(w.History), i, Change{s, at, reason})
	if order[s] > order[w.State] {
		w.State, w.Reason, w.Position = s, reason, 0
	}
	if first := w.History[1]; !first.State.Final() {
		w.Started = &first.Time
	}
	if s.Final() && s != Removed {
		w.Ended = &at
	}
	if !s.Final() {
		f.countStart(m)
	}
	if !m.old || !at.Before(m.seen) {
		f.count.entered(w, s, cause, at)
	}
	f.publish(m)
}

// countStart counts a worker that was started, once.
func (f *fleet) countStart(m *member) {
	if !m.started {
		m.started = true
		f.count.starts.Inc()
	}
}

// longest is how many bytes a reason has at most.
const longest = 1 << 10

// capped keeps what others say of a worker short, and UTF-8.
func capped(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= longest {
		return s
	}
	const more = "…"
	n := longest - len(more)
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + more
}

// causes are those that a worker gives itself.
var causes = map[report.State]string{report.Failed: "build", report.Errored: "error"}

// said takes in what a worker says of itself.
func (f *fleet) said(m *member, l report.Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.Commit != "" && l.Commit != m.worker.Commit {
		m.worker.Commit = l.Commit
		f.publish(m)
	}
	states := map[report.State]State{report.Cloning: Cloning, report.Running: Running, report.Succeeded: Succeeded, report.Failed: Failed, report.Errored: Failed, report.Cancelled: Cancelled}
	if l.State == report.Released {
		m.released = true
	}
	if to, known := states[l.State]; known {
		f.enter(m, to, causes[l.State], l.Reason, l.Time)
	}
}

// ended takes in how a worker's task ended, if its own word does not say it.
func (f *fleet) ended(m *member, s State, cause, reason string, res driver.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.task.State, m.concluded = driver.StateEnded, true
	if !res.Started.IsZero() { // of which nothing was told
		f.countStart(m)
	}
	f.enter(m, s, cause, reason, res.Ended)
	if m.worker.Started == nil && !res.Started.IsZero() {
		m.worker.Started = &res.Started
	}
	f.catchUp(m)
}

// begun notes that a worker was started, which the runtime will tell of.
func (f *fleet) begun(id driver.TaskID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byTask[id]; m != nil {
		m.begun = true
	}
}

// refuse notes why a worker could not be started; its end follows.
func (f *fleet) refuse(id driver.TaskID, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byTask[id]; m != nil {
		m.refusal = reason
	}
}

func (f *fleet) refusalOf(m *member) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.refusal
}

// fate reports whether this provisioner deletes a worker, and whether somebody has taken everything from it.
func (f *fleet) fate(m *member) (deleted, released bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.deleted, m.released
}

// hasEnded reports whether a worker's task has ended.
func (f *fleet) hasEnded(m *member) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.task.State == driver.StateEnded
}

// isBehind reports whether the record of a worker that was there before is not read yet.
func (f *fleet) isBehind(m *member) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.behind
}

// caughtUp notes that it is.
func (f *fleet) caughtUp(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.catchUp(m)
}

func (f *fleet) catchUp(m *member) {
	if m.behind {
		m.behind = false
		f.behind--
	}
}
