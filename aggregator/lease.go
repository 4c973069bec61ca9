package aggregator

import (
	"context"
	"sync"
	"time"
)

// lease is the right to write for a while. A [client.Claim] of a worker gives one, and so does a verdict.
type lease interface {
	// Lease waits until there is one that lasts for some time.
	Lease(context.Context) error
	// Until is its end.
	Until() time.Time
}

// renewEvery is how often a lease in use is looked after: a worker grants one for three seconds.
const renewEvery = 700 * time.Millisecond

// renewer keeps a lease as long as it is in use: who only waits for lines asks for none.
type renewer struct {
	lease lease
	wake  chan struct{}

	mu   sync.Mutex
	used int
}

func newRenewer(l lease) *renewer { return &renewer{lease: l, wake: make(chan struct{}, 1)} }

// use waits for a lease, which is kept until the function that it returns is called.
func (r *renewer) use(ctx context.Context) (done func(), err error) {
	r.mu.Lock()
	r.used++
	r.mu.Unlock()
	signal(r.wake)
	done = sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.used--
	})
	if err := r.lease.Lease(ctx); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

func (r *renewer) inUse() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used > 0
}

// run keeps the lease until ctx ends.
func (r *renewer) run(ctx context.Context) {
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		for r.inUse() {
			_ = r.lease.Lease(ctx) // who uses it notices by its end
			if !pause(ctx, renewEvery) {
				return
			}
		}
	}
}
