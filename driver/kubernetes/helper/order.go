//go:build linux

package main

import (
	"sync"
	"time"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

const (
	serviceGrace = 3 * time.Second // a service has this to end by itself when its task has ended
	suspicion    = 3 * time.Second // how long after a container's TERM from outside the keeper's own may come
)

// task is the task of this pod, and what its orders are.
type task struct {
	plan  wire.Plan
	boxes []*box
	spool *spool
	main  *box

	mu       sync.Mutex
	state    wire.State
	changed  chan struct{} // closed when the state changes
	prefixes map[string][]string
	result   wire.Result

	attached chan struct{} // every container has called
	begun    chan struct{} // Start
	stop     chan struct{} // Stop
	termed   chan struct{} // the kubelet ends the pod
	done     chan struct{} // the result is known
	over     chan struct{} // every container has ended, and all its output is in the spool
}

func newTask(plan wire.Plan, s *spool) *task {
	t := &task{
		plan: plan, spool: s, state: wire.Created, changed: make(chan struct{}), attached: make(chan struct{}), begun: make(chan struct{}),
		stop: make(chan struct{}), termed: make(chan struct{}), done: make(chan struct{}), over: make(chan struct{}),
	}
	for i, b := range plan.Boxes {
		t.boxes = append(t.boxes, newBox(t, i, b))
	}
	if n := len(t.boxes); n > 0 {
		t.main = t.boxes[n-1]
	}
	return t
}

func (t *task) of(kind wire.Kind) (list []*box) {
	for _, b := range t.boxes {
		if b.Kind == kind {
			list = append(list, b)
		}
	}
	return list
}

func (t *task) setState(s wire.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = s
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *task) standing() (wire.State, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state, t.changed
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// begin is Start: the first one counts.
func (t *task) begin(prefixes map[string][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !isClosed(t.begun) {
		t.prefixes = prefixes
		close(t.begun)
	}
}

// end is Stop.
func (t *task) end(grace time.Duration) {
	t.mu.Lock()
	if !isClosed(t.stop) {
		close(t.stop)
	}
	t.mu.Unlock()
	if grace > 0 {
		t.signalAll(15)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-t.over:
			return
		case <-timer.C:
		}
	}
	t.signalAll(9)
}

func (t *task) signalAll(n int) {
	for _, b := range t.boxes {
		b.signal(n)
	}
}

// run is the life of the task.
func (t *task) run() {
	select {
	case <-t.begun:
	case <-t.stop:
		t.finish(wire.Result{Outcome: "stopped"})
		return
	case <-t.termed:
		t.finish(wire.Result{Outcome: "unknown", Reason: "the pod was ended before the task was started"})
		return
	}
	t.setState(wire.Starting)
	t.finish(t.inTurn())
}

func (t *task) inTurn() wire.Result {
	select {
	case <-t.attached:
	case <-t.stop:
		return wire.Result{Outcome: "stopped"}
	case <-t.termed:
		return wire.Result{Outcome: "unknown", Reason: "the pod was ended before the task was started"}
	}
	for _, b := range t.of(wire.Init) {
		if !t.launch(b) {
			return wire.Result{Outcome: "stopped"}
		}
		<-b.ended
		if res, ok := t.initFailed(b); ok {
			return res
		}
	}
	failed := make(chan *box, len(t.boxes))
	if res := t.serve(failed); res != nil {
		return *res
	}
	if !t.launch(t.main) {
		return wire.Result{Outcome: "stopped"}
	}
	select {
	case <-t.main.began:
		t.setState(wire.Running)
	case <-t.main.ended:
	}
	return t.await(failed)
}

// launch lets a container begin, unless the task was stopped.
func (t *task) launch(b *box) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if isClosed(t.stop) {
		return false
	}
	b.launch(t.prefixes[b.Name])
	return true
}

func (t *task) initFailed(b *box) (wire.Result, bool) {
	r := b.record()
	switch {
	case r.Op == msgExited && r.Code == 0 && r.Signal == 0:
		return wire.Result{}, false
	case isClosed(t.stop):
		return wire.Result{Outcome: "stopped"}, true
	case r.Op == msgFailed:
		return wire.Result{Outcome: "init failed", Container: b.Name, Code: 127, Reason: r.Reason, Ended: r.Time}, true
	}
	res := wire.Result{Outcome: "init failed", Container: b.Name, Code: r.shellCode(), Ended: r.Time}
	if r.OOM {
		res.Reason = "out of memory"
	}
	if r.Op == "" {
		res.Code, res.Reason = 137, "process 1 of the container was killed"
	}
	return res, true
}

// await waits for the end of the main container, or of a service that ends before it.
func (t *task) await(failed <-chan *box) wire.Result {
	select {
	case <-t.main.ended:
		return t.ofMain()
	case b := <-failed:
		if isClosed(t.main.ended) {
			return t.ofMain()
		}
		if isClosed(t.stop) || isClosed(t.termed) {
			<-t.main.ended
			return t.ofMain()
		}
		t.main.signal(9)
		<-t.main.ended
		res := b.failure("it ended while the main container ran")
		res.Started = t.main.startTime()
		return *res
	}
}

// ofMain is the result that the main container's end makes.
func (t *task) ofMain() wire.Result {
	r := t.main.record()
	if r.Termed {
		timer := time.NewTimer(suspicion)
		defer timer.Stop()
		select {
		case <-t.termed:
		case <-timer.C:
		}
	}
	res := wire.Result{Started: t.main.startTime(), Ended: r.Time, Reason: r.Reason, Termed: r.Termed}
	switch {
	case r.Op == msgFailed:
		res.Outcome, res.Started = "start failed", time.Time{}
	case r.Op != msgExited:
		res.Outcome, res.Reason = "unknown", "process 1 of the container was killed"
	case r.OOM && (r.Code != 0 || r.Signal != 0):
		res.Outcome, res.Code = "out of memory", r.shellCode()
	case r.Signal != 0:
		res.Outcome, res.Signal, res.Code = "signaled", r.Signal, r.shellCode()
	default:
		res.Outcome, res.Code = "exited", r.Code
	}
	return res
}

// shellCode is the number that a shell would show.
func (m *message) shellCode() int {
	if m.Signal != 0 {
		return 128 + m.Signal
	}
	return m.Code
}

// finish makes the result known, and ends what still runs.
func (t *task) finish(res wire.Result) {
	t.mu.Lock()
	t.result = res
	t.mu.Unlock()
	note(res)
	close(t.done)
	t.setState(wire.Ended)
	for _, b := range t.boxes {
		b.signal(15)
	}
	timer := time.AfterFunc(serviceGrace, func() { t.signalAll(9) })
	defer timer.Stop()
	for _, b := range t.boxes {
		if b.launched() {
			<-b.ended
		}
	}
	t.spool.end()
	close(t.over)
}
