package aggregator

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// pause waits, and reports whether ctx has not ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool { return pauseUntil(ctx, d, nil) }

// pauseUntil is pause, which ends too when over is closed.
func pauseUntil(ctx context.Context, d time.Duration, over <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-over:
		return true
	case <-ctx.Done():
		return false
	}
}

// signal leaves word in a channel that has room for one, if there is none yet.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
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
	up   chan struct{} // closed, and replaced, when the tide comes in
	last error         // why the sink takes nothing; nil if it does
	rose time.Time     // when it has taken something last
}

func newTide() *tide { return &tide{up: make(chan struct{})} }

// rise notes that the sink takes something.
func (t *tide) rise() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rose = time.Now()
	if t.last != nil {
		t.last = nil
		close(t.up)
		t.up = make(chan struct{})
	}
}

// fall notes that it does not.
func (t *tide) fall(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = err
}

// wait waits for a time, or until the tide comes in, but for a quarter of the time at least: what fails for itself is not to be tried whenever another succeeds. It reports whether ctx has not
// ended meanwhile.
func (t *tide) wait(ctx context.Context, d time.Duration) bool {
	t.mu.Lock()
	up := t.up
	t.mu.Unlock()
	return pause(ctx, d/4) && pauseUntil(ctx, d-d/4, up)
}

// roseSince reports whether the sink has taken something since a time.
func (t *tide) roseSince(when time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rose.After(when)
}

// trouble is why the sink takes nothing, or nil.
func (t *tide) trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
