package aggregator

import (
	"sync"

	"github.com/wharfci/wharf/worker/client"
)

// share is who has which worker, as far as the workers tell, so that each aggregator has about as many.
type share struct {
	mu       sync.Mutex
	contests map[*member]client.Contest
}

// told takes in who has a worker, and who waits for it.
func (s *share) told(m *member, now client.Contest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.contests == nil {
		s.contests = map[*member]client.Contest{}
	}
	s.contests[m] = now
}

// forget takes a worker out that is not connected to any more.
func (s *share) forget(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.contests, m)
}

// heir is who is to have a worker next; empty if nobody in particular.
func (s *share) heir(*member) string { return "" }
