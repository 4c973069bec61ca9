package aggregator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/worker/client"
)

// fleet are the workers that there are, as the runtime tells.
type fleet struct {
	tend func(*member) // is called once of each that is to be relayed

	mu     sync.Mutex
	byTask map[driver.TaskID]*member
	err    error // why the runtime does not tell
}

// member is a worker.
type member struct {
	task   driver.Task // its ID is empty of one that was gone before it was seen
	mark   string      // see provisioner.MarkOf
	worker provisioner.Worker
	mine   bool

	mu      sync.Mutex
	state   driver.State
	reason  string
	removed bool
	changed chan struct{} // closed, and replaced, when it has changed
	since   time.Time     // when it was seen first
	started time.Time     // when it was first seen to run, or to be started
	waits   time.Time     // since when the runtime says why it does not run though its turn has come; zero if it does not
	notes   []note
	stand   standing
	longest uint64      // how many entries its journal was known to have
	passing chan string // takes who is to have the claim, if this one has it
}

// pass asks for the claim to be passed on.
func (m *member) pass(heir string) {
	select {
	case m.passing <- heir:
	default: // it is asked for already
	}
}

// note is what the runtime said of a worker's state.
type note struct {
	at     time.Time
	reason string
}

// mostNotes is how many are kept.
const mostNotes = 10

// told are the notes, the oldest first.
func (m *member) told() []note {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.notes)
}

// waiting is since when the runtime says why the worker does not run though its turn has come, and what it says; zero if it does not.
func (m *member) waiting() (since time.Time, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waits, m.reason
}

// startedAt is when it was first seen to have been started; zero if it has not.
func (m *member) startedAt() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.started
}

// observe keeps what is told. The member is locked.
func (m *member) observe() {
	if m.started.IsZero() && m.state >= driver.StateStarting && m.state <= driver.StateRunning {
		m.started = time.Now()
	}
	switch {
	case m.state != driver.StateStarting || m.reason == "":
		m.waits = time.Time{}
	case m.waits.IsZero():
		m.waits = time.Now()
	}
	if m.reason == "" || len(m.notes) > 0 && m.notes[len(m.notes)-1].reason == m.reason {
		return
	}
	m.notes = append(m.notes, note{time.Now(), m.reason})
	m.notes = m.notes[max(0, len(m.notes)-mostNotes):]
}

// standing is where the relay of a worker stands, for who asks.
type standing struct {
	worker      *client.Client // asks the worker itself; nil if this aggregator does not have the claim
	settled     bool           // it is known what the sink has
	read, taken uint64         // entries of the journal that were read, and that the sink has
}

// standing returns where the relay stands.
func (m *member) standing() standing {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stand
}

// hold notes that this aggregator has the claim, by a connection, or, if that is nil, has it no more.
func (m *member) hold(worker *client.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stand = standing{worker: worker}
}

// lag is how many entries of the worker's journal the sink has not confirmed. The worker tells how many there are: while the sink takes nothing, nothing is read. If it does not answer, it is how many it had when it last did, or were read.
func (m *member) lag(ctx context.Context, s standing) uint64 {
	last, taken := s.read, s.taken
	if b, err := s.worker.Build(ctx, false); err == nil {
		last, taken = max(last, b.Last), max(taken, b.Taken)
	}
	last = m.atLeast(last)
	taken = max(taken, m.standing().taken)
	return last - min(last, taken)
}

// atLeast notes how long the worker's journal is at least, and returns the longest that it was known to be: it may not answer now.
func (m *member) atLeast(last uint64) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.longest = max(m.longest, last)
	return m.longest
}

// settle notes that it is known what the sink has.
func (m *member) settle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stand.settled = true
}

// progress notes what was read, and what the sink has.
func (m *member) progress(read, taken uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stand.read, m.stand.taken = read, taken
}

// now is where the worker stands, and what is closed when that has changed.
func (m *member) now() (s driver.State, removed bool, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.removed, m.changed
}

// set takes in a state. A worker never goes back.
func (m *member) set(s driver.State, reason string, removed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s < m.state || m.removed { // what was told is older
		s, reason = m.state, m.reason
	}
	if s == m.state && removed == m.removed && reason == m.reason {
		return
	}
	m.state, m.reason, m.removed = s, reason, m.removed || removed
	m.observe()
	close(m.changed)
	m.changed = make(chan struct{})
}

// reconcile takes in a list that was asked for at a time: what is not in it, and was known before, has been removed.
func (f *fleet) reconcile(tasks []driver.Task, asked time.Time, mine func(*provisioner.Worker) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	there := map[driver.TaskID]bool{}
	for _, t := range tasks {
		there[t.ID] = true
		if t.Incomplete {
			continue
		}
		m := f.byTask[t.ID]
		if m != nil {
			m.set(t.State, t.Reason, false)
			continue
		}
		w := provisioner.WorkerOf(t)
		m = &member{task: t, mark: provisioner.MarkOf(t.ID), worker: w, mine: mine(&w), state: t.State, reason: t.Reason, changed: make(chan struct{}), since: time.Now(), passing: make(chan string, 1)}
		m.observe()
		f.byTask[t.ID] = m
		if m.mine {
			f.tend(m)
		}
	}
	for id, m := range f.byTask {
		if !there[id] && m.since.Before(asked) {
			m.set(m.state, m.reason, true)
			delete(f.byTask, id)
		}
	}
}

// changed takes in an event, and reports whether the task is known.
func (f *fleet) changed(ev driver.Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byTask[ev.Task]
	if m == nil {
		return false
	}
	m.set(ev.State, ev.Reason, ev.Removed)
	if ev.Removed {
		delete(f.byTask, ev.Task)
	}
	return true
}

// again reports whether the build of a worker is another worker's now.
func (f *fleet) again(m *member) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.byTask {
		if o != m && o.worker.ID == m.worker.ID {
			return true
		}
	}
	return false
}

// marks are those of all workers that there are.
func (f *fleet) marks() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]bool{}
	for _, m := range f.byTask {
		all[m.mark] = true
	}
	return all
}

// running is how many workers run that are relayed.
func (f *fleet) running() (n int) {
	for _, m := range f.all() {
		if state, _, _ := m.now(); state == driver.StateRunning {
			n++
		}
	}
	return n
}

// reach notes whether the runtime tells.
func (f *fleet) reach(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fleet) reachable() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// all returns the workers that are relayed.
func (f *fleet) all() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*member
	for _, m := range f.byTask {
		if m.mine {
			all = append(all, m)
		}
	}
	return all
}
