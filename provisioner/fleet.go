package provisioner

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// fleet is what this provisioner knows of the workers on the runtime: a view, which can be made anew at any time.
type fleet struct {
	mu          sync.Mutex
	byID        map[string]*member
	byTask      map[driver.TaskID]*member
	gone        map[driver.TaskID]time.Time // tasks that were removed: a list that was begun before may still have them
	left        map[string]time.Time        // when the last task of a worker was removed: see torn
	subscribers map[*subscriber]bool
	trouble     error // why the runtime cannot be reached
	image       error // why the workers' image is not there
	loaded      bool  // the runtime has been asked once
	since       time.Time
	behind      int // how many workers were there before, and what they did is not read yet
	limits      func(*Worker) []limit
	count       *counters
}

func newFleet(limits func(*Worker) []limit) *fleet {
	f := &fleet{
		byID: map[string]*member{}, byTask: map[driver.TaskID]*member{}, subscribers: map[*subscriber]bool{}, gone: map[driver.TaskID]time.Time{}, left: map[string]time.Time{}, limits: limits,
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

// catchUpTime is how long the records of the workers that were there before are waited for. Whose is not read then is told of as the runtime has it.
const catchUpTime = 30 * time.Second

// isLoaded reports whether the fleet is as the runtime had it at some time, and what its workers did before is known.
func (f *fleet) isLoaded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded && (f.behind == 0 || time.Since(f.since) > catchUpTime)
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

// add takes in a task, if it is not there, and returns its worker.
func (f *fleet) add(t driver.Task) Worker {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, gone := f.gone[t.ID]; gone { // others were very quick with it
		return WorkerOf(t)
	}
	m := f.addLocked(t)
	f.step(m, t.State, t.Reason, t.Created) // another call may have seen it while it was made
	return m.shown()
}

// broken reports whether a worker's task has been in its making, or its removal, for longer than that takes: who was at it has died.
func (f *fleet) broken(id string) (driver.Task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	if m == nil || m.task.State != driver.StateUnknown || !m.task.Incomplete || time.Since(m.seen) < makingTime {
		return driver.Task{}, false
	}
	return m.task, true
}

// makingTime is longer than the making of a task takes, its image being there.
const makingTime = time.Minute

func (f *fleet) addLocked(t driver.Task) *member {
	if m := f.byTask[t.ID]; m != nil {
		return m
	}
	m := &member{task: t, worker: WorkerOf(t), mark: MarkOf(t.ID), seen: time.Now(), old: !f.loaded, met: t.State > driver.StateCreated}
	m.started = m.old && t.State != driver.StateCreated && !t.Incomplete // also if its node does not answer
	m.project, m.limits = projectKey(&m.worker), f.limits(&m.worker)
	if old := f.byID[m.worker.ID]; old != nil { // its removal has not been told yet
		delete(f.byTask, old.task.ID)
		f.catchUp(old)
	}
	f.byID[m.worker.ID], f.byTask[t.ID] = m, m
	if m.old && t.State > driver.StateCreated {
		m.behind = true
		f.behind++
	}
	f.publish(m)
	return m
}

// reconcile takes in all tasks that there were when the runtime was asked, or a little later. Lists come in the order in which they were asked for.
func (f *fleet) reconcile(tasks []driver.Task, asked time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	there := map[driver.TaskID]bool{}
	for _, t := range tasks {
		there[t.ID] = true
		if _, gone := f.gone[t.ID]; !gone && !f.torn(t) {
			f.listed(t)
		}
	}
	for id, since := range f.gone {
		if !there[id] && since.Before(asked) && asked.Sub(since) > goneTime { // no later list has it either
			delete(f.gone, id)
		}
	}
	maps.DeleteFunc(f.left, func(_ string, since time.Time) bool { return asked.Sub(since) > makingTime })
	for id, m := range f.byTask {
		if !there[id] && m.seen.Before(asked) {
			f.drop(m)
		}
	}
	if !f.loaded {
		f.loaded, f.since = true, time.Now()
	}
}

// goneTime is how long a task that was removed is remembered: its slots are given back meanwhile.
const goneTime = 10 * time.Minute

// torn reports whether what a list has is not a task that is being made, but a rest of one that is being removed, or that has been made meanwhile: where a task is several containers
// these look alike, and have another ID than the whole.
func (f *fleet) torn(t driver.Task) bool {
	if !t.Incomplete || f.byTask[t.ID] != nil {
		return false
	}
	id := t.Labels[LabelWorker]
	if m := f.byID[id]; m != nil && m.task.State != driver.StateUnknown {
		return true
	}
	since, left := f.left[id]
	return left && !t.Created.After(since)
}

// halfMade reports whether a worker is there, and whether its task is by half.
func (f *fleet) halfMade(id string) (there, half bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	return m != nil, m != nil && m.task.State == driver.StateUnknown && m.task.Incomplete
}

// listed takes in one task of a list.
func (f *fleet) listed(t driver.Task) {
	m := f.byTask[t.ID]
	if m == nil {
		f.addLocked(t) // since when it is in its state nobody says
		return
	}
	if !m.worker.Created.Equal(t.Created) { // by the runtime's clock
		m.worker.Created = t.Created
		m.worker.History = slices.Clone(m.worker.History)
		m.worker.History[0].Time = t.Created
	}
	m.task.Incomplete = t.Incomplete && m.task.State == driver.StateUnknown
	f.step(m, t.State, t.Reason, time.Now())
}

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
		f.enter(m, Removed, "", "", time.Now())
	}
	f.catchUp(m)
}

// abandoned returns the task of a worker that is certain not to run any more, unless this provisioner has removed it, or does so.
func (f *fleet) abandoned(m *member) (driver.Task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := m.task
	t.State = driver.StateEnded
	return t, f.byTask[t.ID] == m && !m.deleted
}

// orphaned returns the worker that a task was, if it had been started and others have removed it; nil otherwise.
func (f *fleet) orphaned(id driver.TaskID) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byTask[id]
	if m == nil || m.deleted || m.task.State <= driver.StateCreated && !m.begun {
		return nil
	}
	return m
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

// unmark notes that a worker was not deleted after all.
func (f *fleet) unmark(task driver.TaskID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byTask[task]; m != nil {
		m.deleted = false
	}
}

// mark notes that this provisioner deletes a worker, and returns its task, which must be that of the argument, if that is not empty.
func (f *fleet) mark(id string, of driver.TaskID) (driver.Task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	if m == nil || of != "" && m.task.ID != of {
		return driver.Task{}, false
	}
	m.deleted = true
	return m.task, true
}

// past returns what is known of what a worker's task has done: whether all that its build has left is removed, and whether the runtime may have refused to start it.
func (f *fleet) past(task driver.TaskID) (clean, refusable bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byTask[task]
	if m == nil {
		return false, true
	}
	ran := slices.ContainsFunc(m.worker.History, func(c Change) bool { return c.State == Running })
	return m.swept, !ran && (m.task.State != driver.StateCreated || m.refusal != "")
}

// swept notes that all that a worker's build has left is removed.
func (f *fleet) swept(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.swept = true
}

// doomed reports whether this provisioner is deleting a worker.
func (f *fleet) doomed(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	return m != nil && m.deleted
}

// finished is a worker that has ended and is kept, with the task that it had.
type finished struct {
	Worker
	task driver.TaskID
}

// kept returns the workers that have ended, and that nobody has taken everything from or deletes, in the order of their ends.
func (f *fleet) kept() []finished {
	f.mu.Lock()
	defer f.mu.Unlock()
	var kept []finished
	for _, m := range f.byID {
		if w := m.shown(); w.State.Final() && w.Ended != nil && !m.deleted && !m.released {
			kept = append(kept, finished{w, m.task.ID})
		}
	}
	slices.SortFunc(kept, func(a, b finished) int { return a.Ended.Compare(*b.Ended) })
	return kept
}

// task returns the task of a worker.
func (f *fleet) task(id string) (driver.Task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byID[id]; m != nil {
		return m.task, true
	}
	return driver.Task{}, false
}

func (f *fleet) worker(id string) (Worker, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byID[id]; m != nil {
		return m.shown(), true
	}
	return Worker{}, false
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
		all = append(all, m.shown())
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
