package aggregator

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// pause waits, and reports whether ctx has not ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backoff is how long to wait before the next try: each time twice as long, up to a bound, less up to a half by chance, so that many that fail at once do not try at once.
type backoff struct{ whole time.Duration }

func (b *backoff) next(most time.Duration) time.Duration {
	b.whole = min(max(200*time.Millisecond, 2*b.whole), most)
	return b.whole/2 + rand.N(b.whole/2)
}

// tide says whether the sink takes what it gets. When it does so again, those that wait need not wait any longer.
type tide struct {
	mu   sync.Mutex
	low  bool
	up   chan struct{} // closed, and replaced, when the tide comes in
	last error
}

func newTide() *tide { return &tide{up: make(chan struct{})} }

// rise notes that the sink takes something.
func (t *tide) rise() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.low {
		t.low, t.last = false, nil
		close(t.up)
		t.up = make(chan struct{})
	}
}

// fall notes that it does not.
func (t *tide) fall(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.low, t.last = true, err
}

// wait waits for a time, or until the tide comes in, but for a quarter of the time at least: what fails for itself is not to be tried whenever another succeeds. It reports whether ctx has not
// ended meanwhile.
func (t *tide) wait(ctx context.Context, d time.Duration) bool {
	t.mu.Lock()
	up := t.up
	t.mu.Unlock()
	if !pause(ctx, d/4) {
		return false
	}
	rest := time.NewTimer(d - d/4)
	defer rest.Stop()
	select {
	case <-rest.C:
		return true
	case <-up:
		return true
	case <-ctx.Done():
		return false
	}
}

// trouble is why the sink takes nothing, or nil.
func (t *tide) trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
