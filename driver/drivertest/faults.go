package drivertest

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
)

// faultyGroups are the groups whose cases hold also for a caller whose connection to the runtime breaks now and then.
var faultyGroups = []string{"results", "logs", "lifecycle"}

// RunFaults runs every case of the groups results, logs and lifecycle, as parallel subtests of t, on driver values whose
// connection to the runtime is cut and restored at random moments. What the cases expect stays the same: the
// suite repeats what returned Unavailable, as the contract lets any caller do, and everything else is the driver's to
// bear. The moments depend on seed, and on what the machine does besides; a failure tells the seed. Harness.OpenCuttable is
// required. See [Run].
func RunFaults(t *testing.T, h Harness, seed uint64) {
	if h.OpenCuttable == nil {
		t.Fatal("the harness lacks OpenCuttable")
	}
	h.Slow = max(h.Slow, 1) * 3 // what is done again takes longer
	s, err := newSuite(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	s.faults = &seed
	t.Run("cases", func(t *testing.T) {
		for _, c := range Cases() {
			if slices.Contains(faultyGroups, c.Group) {
				t.Run(c.ID, func(t *testing.T) {
					t.Parallel()
					tell(t, s.runCase(t.Context(), c))
				})
			}
		}
	})
	for _, r := range s.after(t.Context()) {
		t.Run(r.ID, func(t *testing.T) { tell(t, r) })
	}
}

// cutter cuts a line and restores it.
type cutter struct {
	line Line
	rand *rand.Rand
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	whole chan struct{} // closed while the line is not cut
}

// How often and how long a case's line is cut. They leave a runtime on a slow machine time to answer something.
const (
	cuts      = 15
	mostWhole = 200 * time.Millisecond
	mostCut   = 40 * time.Millisecond
)

// faulty returns a driver value whose line is cut at random moments, and which does again what failed for that reason.
func (e *Env) faulty() driver.Driver {
	d, line, err := e.suite.h.OpenCuttable(e.ctx, e.owner)
	e.must("open a driver through a line that can be cut", err)
	e.closeLater(d)
	id := fnv.New64()
	id.Write([]byte(e.report.ID))
	c := &cutter{
		line: line, rand: rand.New(rand.NewPCG(*e.suite.faults, id.Sum64())),
		stop: make(chan struct{}), done: make(chan struct{}), whole: make(chan struct{}),
	}
	close(c.whole)
	go c.run()
	e.defers(func(context.Context) {
		close(c.stop)
		<-c.done
	})
	return &stubborn{Driver: d, cutter: c, made: map[string]bool{}}
}

func (c *cutter) run() {
	defer close(c.done)
	for range cuts {
		if !c.pass(mostWhole) {
			return
		}
		c.mu.Lock()
		c.whole = make(chan struct{})
		c.mu.Unlock()
		c.line.Cut()
		more := c.pass(mostCut)
		c.line.Restore()
		close(c.whole)
		if !more {
			return
		}
	}
}

// pass lets a random time pass; false if the case ends meanwhile.
func (c *cutter) pass(most time.Duration) bool {
	timer := time.NewTimer(time.Duration(c.rand.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.stop:
		return false
	}
}

// restored waits until the line is whole.
func (c *cutter) restored(ctx context.Context) {
	c.mu.Lock()
	whole := c.whole
	c.mu.Unlock()
	select {
	case <-whole:
	case <-ctx.Done():
	}
}
