package aggregator

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wharfci/wharf/worker/client"
)

// share is who has which worker, and who waits for it, as the workers tell: each tells everybody who asks for its claim, so all aggregators know the same. Who has two workers more than another that waits
// passes one on to that, until nobody has.
//
// Who does not see all workers, since it has just come or come back, passes none on: it would take others for idle. And a worker of which it is not known yet what has arrived at the sink stays: the next one would
// have to begin with that again. Who cannot reach the sink passes all on, and is no one that waits: see contact.
type share struct {
	name string
	all  func() int    // how many workers there are to claim
	wake chan struct{} // has one when something has changed
	sink *contact

	mu       sync.Mutex
	contests map[*member]client.Contest
}

func newShare(name string, all func() int, sink *contact) *share {
	return &share{name: name, all: all, sink: sink, wake: make(chan struct{}, 1), contests: map[*member]client.Contest{}}
}

// told takes in who has a worker, and who waits for it.
func (s *share) told(m *member, now client.Contest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contests[m] = now
	s.changed()
}

// forget takes a worker out that is not connected to any more.
func (s *share) forget(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.contests, m)
	s.changed()
}

// changed has run look.
func (s *share) changed() { signal(s.wake) }

// loads is how many workers each has that is known. The share is locked.
func (s *share) loads() map[string]int {
	n := map[string]int{s.name: 0}
	for _, c := range s.contests {
		if c.Holder != "" {
			n[c.Holder]++
		}
	}
	return n
}

// least is who of those that wait has the fewest workers; empty if nobody waits. The share is locked.
func (s *share) least(c client.Contest, loads map[string]int) string {
	heir := ""
	for _, name := range c.Waiting {
		if name != s.name && (heir == "" || loads[name] < loads[heir]) {
			heir = name
		}
	}
	return heir
}

// heir is who is to have a worker next that is given back; empty if nobody waits for it.
func (s *share) heir(m *member) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.contests[m]
	heir := s.least(c, s.loads())
	if heir != "" { // so that the next one is not given to the same
		c.Holder = heir
		s.contests[m] = c
	}
	return heir
}

// surplus is a worker that another should have, and who that is; nil if there is none.
func (s *share) surplus() (m *member, heir string) {
	all := s.all()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.contests) < all {
		return nil, ""
	}
	loads := s.loads()
	for of, c := range s.contests {
		if c.Holder != s.name || !of.standing().settled {
			continue
		}
		if to := s.least(c, loads); to != "" && loads[to] <= loads[s.name]-2 && (heir == "" || loads[to] < loads[heir]) {
			m, heir = of, to
		}
	}
	return m, heir
}

// passAll passes on every worker that another waits for.
func (s *share) passAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	loads := s.loads()
	for m, c := range s.contests {
		if to := s.least(c, loads); c.Holder == s.name && to != "" {
			loads[to]++
			m.pass(to)
		}
	}
}

// shareEvery is about how long an aggregator waits before it passes the next worker on: until the others know.
const shareEvery = 100 * time.Millisecond

// run passes workers on, until ctx ends.
func (s *share) run(ctx context.Context) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		if !pause(ctx, shareEvery/2+rand.N(shareEvery)) {
			return
		}
		if s.sink.isLost() {
			if s.sink.isOver() {
				s.passAll()
			}
		} else if m, heir := s.surplus(); m != nil {
			m.pass(heir)
		}
	}
}
