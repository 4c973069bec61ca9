package provisioner

import (
	"time"

	"github.com/wharfci/wharf/driver"
)

// candidate is what the queue has to know of a worker that has not ended.
type candidate struct {
	task     driver.TaskID
	id       string
	mark     string // of its task, on slots
	project  string
	limits   []limit
	priority int
	created  time.Time
	state    driver.State
	started  bool
	halfway  bool // its start has been seen, and not that it was done
}

// census returns the workers that have not ended, and the marks of the tasks that have ended or were removed. A worker whose build has ended, and that waits to be
// read, needs no slot.
func (f *fleet) census() (live []candidate, dead map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dead = map[string]bool{}
	for id := range f.gone {
		dead[MarkOf(id)] = true
	}
	live = make([]candidate, 0, len(f.byID))
	for id, m := range f.byID {
		s := m.task.State
		if s == driver.StateEnded || m.worker.State.Final() {
			dead[m.mark] = true
			continue
		}
		started := m.begun || s > driver.StateCreated || s == driver.StateUnknown && !m.task.Incomplete // its node may not answer
		if m.deleted && !started {
			continue // it is not to be started any more
		}
		live = append(live, candidate{m.task.ID, id, m.mark, m.project, m.limits, m.worker.Priority, m.worker.Created, s, started, s == driver.StateStarting && !m.begun})
	}
	return live, dead
}

// near is up to where in the queue every change of a position is told; further behind, each time that one has passed so many.
const near = 100

// place tells the queued workers where they stand.
func (f *fleet) place(ordered []waiting, reasons map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, o := range ordered {
		m := f.byID[o.id]
		if m == nil || m.worker.State != Queued {
			continue
		}
		before, now := m.worker.Position, i+1
		told := now != before && (before == 0 || now <= near || now/near != before/near) || m.worker.Reason != reasons[o.id]
		m.worker.Position, m.worker.Reason = now, reasons[o.id]
		if told {
			f.publish(m)
		}
	}
}
