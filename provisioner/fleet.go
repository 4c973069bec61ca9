package provisioner

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner/report"
)

// fleet is what this provisioner knows of the workers on the runtime: a view, which can be made anew at any time.
type fleet struct {
	mu          sync.Mutex
	byID        map[string]*member
	byTask      map[driver.TaskID]*member
	gone        map[driver.TaskID]time.Time // tasks that were removed: a list that was begun before may still have them
	left        map[string]time.Time        // the same of their workers
	subscribers map[*subscriber]bool
	trouble     error // why the runtime cannot be reached
	image       error // why the workers' image is not there
	loaded      bool  // the runtime has been asked once
	count       *counters
}

// member is one worker. Its fields belong to the fleet's lock.
type member struct {
	task      driver.Task
	worker    Worker
	concluded bool // how it ended is known
	read      bool // somebody reads its log
	refusal   string
	seen      time.Time // when this provisioner first saw it
	deleted   bool      // by this provisioner
	released  bool      // somebody has taken everything
}

func newFleet() *fleet {
	f := &fleet{
		byID: map[string]*member{}, byTask: map[driver.TaskID]*member{}, subscribers: map[*subscriber]bool{}, gone: map[driver.TaskID]time.Time{}, left: map[string]time.Time{},
		trouble: errors.New("the runtime has not been asked yet"), image: errors.New("the workers' image has not been looked for yet"),
	}
	f.count = newCounters(f)
	return f
}

// reach notes whether the runtime answers.
func (f *fleet) reach(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = err
}

// isLoaded reports whether the fleet is as the runtime had it at some time.
func (f *fleet) isLoaded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded
}

func (f *fleet) reachable() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble
}

// haveImage notes whether the workers' image is there.
func (f *fleet) haveImage(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.image = err
}

func (f *fleet) imageThere() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.image
}

// add takes in a task, if it is not there.
func (f *fleet) add(t driver.Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step(f.addLocked(t), t.State, t.Reason, t.Created) // another call may have seen it while it was made
}

// broken reports whether a worker's task has been in its making for longer than that takes: who made it has died.
func (f *fleet) broken(id string) (driver.Task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	if m == nil || m.task.State != driver.StateUnknown || !m.task.Incomplete || time.Since(m.seen) < makingTime {
		return driver.Task{}, false
	}
	return m.task, true
}

// unfinished reports whether a worker's task is there by half.
func (f *fleet) unfinished(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	return m != nil && m.task.State == driver.StateUnknown && m.task.Incomplete
}

// makingTime is longer than the making of a task takes, its image being there.
const makingTime = time.Minute

func (f *fleet) addLocked(t driver.Task) *member {
	if m := f.byTask[t.ID]; m != nil {
		return m
	}
	m := &member{task: t, worker: workerOf(t), seen: time.Now()}
	m.worker.History = []Change{{State: Queued, Time: t.Created}}
	if old := f.byID[m.worker.ID]; old != nil { // its removal has not been told yet
		delete(f.byTask, old.task.ID)
	}
	f.byID[m.worker.ID], f.byTask[t.ID] = m, m
	f.publish(m)
	return m
}

// reconcile takes in all tasks that there are.
func (f *fleet) reconcile(tasks []driver.Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded = true
	for id, since := range f.gone {
		if time.Since(since) > listLag {
			delete(f.gone, id)
		}
	}
	maps.DeleteFunc(f.left, func(_ string, since time.Time) bool { return time.Since(since) > listLag })
	there := map[driver.TaskID]bool{}
	for _, t := range tasks {
		there[t.ID] = true
		if _, gone := f.gone[t.ID]; gone || f.torn(t) {
			continue
		}
		m := f.addLocked(t)
		if !m.worker.Created.Equal(t.Created) { // by the runtime's clock
			m.worker.Created = t.Created
			m.worker.History = slices.Clone(m.worker.History)
			m.worker.History[0].Time = t.Created
		}
		m.task.Incomplete = t.Incomplete && m.task.State == driver.StateUnknown
		f.step(m, t.State, t.Reason, time.Now())
	}
	for id, m := range f.byTask {
		// One that was just made may not be in a list that was begun before.
		if !there[id] && time.Since(m.worker.Created) > listLag {
			f.drop(m)
		}
	}
}

// torn reports whether what a list has is not a task that is being made, but what a removal has not come to yet: where a task is several containers both look alike, and the ID may be
// another one than that of the whole.
func (f *fleet) torn(t driver.Task) bool {
	if !t.Incomplete {
		return false
	}
	id := t.Labels[LabelWorker]
	if m := f.byID[id]; m != nil && m.task.ID != t.ID && !m.task.Incomplete {
		return true
	}
	since, left := f.left[id]
	return left && !t.Created.After(since)
}

// listLag is how old a list may be that does not have a new task yet, or still has one that was removed.
const listLag = time.Minute

// changed takes in an event, and reports whether its task is known.
func (f *fleet) changed(ev driver.Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byTask[ev.Task]
	if m == nil {
		_, gone := f.gone[ev.Task]
		return gone
	}
	f.step(m, ev.State, ev.Reason, ev.Time)
	return true
}

// step brings a worker to where its task stands. How one ended is told by its log and its result: see read.
func (f *fleet) step(m *member, s driver.State, reason string, at time.Time) {
	if s > m.task.State { // a list may be older than what is known, and a node that does not answer takes nothing back
		m.task.State = s
	}
	to := map[driver.State]State{driver.StateStarting: Preparing, driver.StateRunning: Running}[s]
	if to == "" || m.worker.State.Final() {
		return
	}
	if order[to] <= order[m.worker.State] { // only the reason may be news
		if to == m.worker.State && reason != m.worker.Reason {
			m.worker.Reason = reason
			f.publish(m)
		}
		return
	}
	f.enter(m, to, reason, at)
}

// enter puts a worker into a state that is further than the one that it is in.
func (f *fleet) enter(m *member, s State, reason string, at time.Time) {
	if order[s] <= order[m.worker.State] {
		return
	}
	if at.IsZero() {
		at = time.Now()
	}
	w := &m.worker
	if w.State == Queued && s != Removed {
		w.Started = &at
	}
	w.State, w.Reason, w.Position = s, reason, 0
	w.History = append(slices.Clip(w.History), Change{s, at, reason})
	if s.Final() && s != Removed && w.Ended == nil {
		w.Ended = &at
	}
	f.count.entered(w, at)
	f.publish(m)
}

func (f *fleet) removed(id driver.TaskID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[id] = time.Now()
	if m := f.byTask[id]; m != nil {
		f.left[m.worker.ID] = f.gone[id]
		f.drop(m)
	}
}

func (f *fleet) drop(m *member) {
	delete(f.byTask, m.task.ID)
	if f.byID[m.worker.ID] == m {
		delete(f.byID, m.worker.ID)
		f.enter(m, Removed, "", time.Now())
	}
}

// claimReader returns a worker that has been started and whose log nobody reads yet, and nil otherwise.
func (f *fleet) claimReader(id driver.TaskID) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byTask[id]
	if m == nil || m.read || m.concluded || m.task.State == driver.StateCreated || m.task.State == driver.StateUnknown {
		return nil
	}
	m.read = true
	return m
}

// freeReader lets another read.
func (f *fleet) freeReader(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.read = false
}

// said takes in what the worker itself reports.
func (f *fleet) said(m *member, l report.Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.Commit != "" && m.worker.Commit != l.Commit {
		m.worker.Commit = l.Commit
		f.publish(m)
	}
	states := map[report.State]State{report.Cloning: Cloning, report.Running: Running, report.Succeeded: Succeeded, report.Failed: Failed, report.Errored: Failed, report.Cancelled: Cancelled}
	if l.State == report.Released {
		m.released = true
	}
	if to, known := states[l.State]; known {
		f.enter(m, to, l.Reason, l.Time)
	}
}

// ended takes in how a worker's task ended, if its own word does not say it.
func (f *fleet) ended(m *member, s State, reason string, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.task.State, m.concluded = driver.StateEnded, true
	f.enter(m, s, reason, at)
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

// unmark notes that a worker was not deleted after all.
func (f *fleet) unmark(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byID[id]; m != nil {
		m.deleted = false
	}
}

// mark notes that this provisioner deletes a worker, and returns its task.
func (f *fleet) mark(id string) (driver.Task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	if m == nil {
		return driver.Task{}, false
	}
	m.deleted = true
	return m.task, true
}

func (f *fleet) worker(id string) (Worker, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byID[id]; m != nil {
		return m.worker, true
	}
	return Worker{}, false
}

// alive returns the tasks of the workers that have not ended. One whose build has ended, and that waits to be read, needs no slot and is not among them.
func (f *fleet) alive() map[string]driver.Task {
	f.mu.Lock()
	defer f.mu.Unlock()
	alive := map[string]driver.Task{}
	for id, m := range f.byID {
		if m.task.State != driver.StateEnded && !m.worker.State.Final() {
			alive[id] = m.task
		}
	}
	return alive
}

// knows reports whether all of these tasks are known, or were removed.
func (f *fleet) knows(ids []driver.TaskID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if _, gone := f.gone[id]; f.byTask[id] == nil && !gone {
			return false
		}
	}
	return true
}

func (f *fleet) queued() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.byID {
		if m.worker.State == Queued && m.task.State <= driver.StateCreated { // others were started before this provisioner was
			n++
		}
	}
	return n
}

func (f *fleet) all() []Worker {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Worker, 0, len(f.byID))
	for _, m := range f.byID {
		all = append(all, m.worker)
	}
	slices.SortFunc(all, func(a, b Worker) int {
		if a.State == Queued && b.State == Queued {
			return cmp.Or(cmp.Compare(a.Position, b.Position), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		}
		if (a.State == Queued) != (b.State == Queued) {
			return map[bool]int{true: -1, false: 1}[a.State == Queued]
		}
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// place tells the queued workers where they stand.
func (f *fleet) place(ordered []waiting, reasons map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, o := range ordered {
		m := f.byID[o.id]
		if m == nil || m.worker.State != Queued || m.worker.Position == i+1 && m.worker.Reason == reasons[o.id] {
			continue
		}
		m.worker.Position, m.worker.Reason = i+1, reasons[o.id]
		f.publish(m)
	}
}
