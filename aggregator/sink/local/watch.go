package local

import "sync"

// watch tells those who wait that a build has changed. The zero value is ready.
type watch struct {
	mu     sync.Mutex
	builds map[uint64]*waiters
}

type waiters struct {
	n       int
	changed chan struct{}
}

// next returns a channel that is closed when the build changes after this call. Release has to be called.
func (w *watch) next(build uint64) (changed <-chan struct{}, release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.builds == nil {
		w.builds = map[uint64]*waiters{}
	}
	all := w.builds[build]
	if all == nil {
		all = &waiters{changed: make(chan struct{})}
		w.builds[build] = all
	}
	all.n++
	return all.changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if all.n--; all.n == 0 && w.builds[build] == all {
			delete(w.builds, build)
		}
	}
}

// changed tells that a build has changed.
func (w *watch) changed(build uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if all := w.builds[build]; all != nil {
		delete(w.builds, build)
		close(all.changed)
	}
}
