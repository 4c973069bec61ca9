package provisioner

import (
	"context"
	"iter"
)

// subscriber is somebody who watches. What he has not taken yet is one entry a worker, however often that has changed.
type subscriber struct {
	pending map[string]Worker
	wake    chan struct{}
}

// publish tells the subscribers that a worker has changed. The fleet is locked.
func (f *fleet) publish(m *member) {
	for s := range f.subscribers {
		s.pending[m.worker.ID] = m.shown()
		signal(s.wake)
	}
}

// Watch yields every worker as it is, and then each that has changed, also when it is removed (its state is Removed then), until ctx ends or the
// loop is left. A slow loop sees the last state of each worker, and not all those between. Of a worker far back in the queue not every change of its position is told.
func (p *Provisioner) Watch(ctx context.Context) iter.Seq[Worker] {
	return p.watched(ctx, func() bool { return true })
}

// watched is Watch, which calls told when every worker that there was has been yielded once.
func (p *Provisioner) watched(ctx context.Context, told func() bool) iter.Seq[Worker] {
	return func(yield func(Worker) bool) {
		s := &subscriber{pending: map[string]Worker{}, wake: make(chan struct{}, 1)}
		f := p.fleet
		f.mu.Lock()
		for id, m := range f.byID {
			s.pending[id] = m.shown()
		}
		f.subscribers[s] = true
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			delete(f.subscribers, s)
			f.mu.Unlock()
		}()
		for first := true; ; first = false {
			f.mu.Lock()
			news := s.pending
			s.pending = map[string]Worker{}
			f.mu.Unlock()
			for _, w := range news {
				if !yield(w) {
					return
				}
			}
			if first && !told() {
				return
			}
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			case <-p.ctx.Done():
				return
			}
		}
	}
}
