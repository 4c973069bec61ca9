package fake

import (
	"context"
	"sync"

	"github.com/wharfci/wharf/driver"
)

// watcher collects events for one call of Events.
type watcher struct {
	owner string
	opts  driver.ListOptions
	mu    sync.Mutex
	queue []driver.Event
	ready chan struct{} // has room for one: there is something in the queue
}

func (w *watcher) add(e driver.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, e)
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []driver.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.queue
	w.queue = nil
	return queue
}

// publish tells the watchers of a task's state.
func (rt *Runtime) publish(t *task, removed bool) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.publishLocked(t, removed)
}

func (rt *Runtime) publishLocked(t *task, removed bool) {
	for w := range rt.watchers {
		if w.owner == t.owner && labelled(t.spec.Labels, w.opts) {
			w.add(rt.event(t, removed))
		}
	}
}

func (rt *Runtime) event(t *task, removed bool) driver.Event {
	info := t.info()
	return driver.Event{Task: t.id, State: info.State, Removed: removed, Reason: info.Reason, Time: rt.now()}
}

// Events tells of changes; see [driver.Eventer].
func (d *Driver) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	if err := d.begin(ctx, "events"); err != nil {
		return driver.Wrap(ctx, "events", "", err)
	}
	w := &watcher{owner: d.owner, opts: opts, ready: make(chan struct{}, 1)}
	d.rt.mu.Lock()
	d.rt.watchers[w] = true
	for _, t := range d.rt.tasks {
		if t.owner == d.owner && labelled(t.spec.Labels, opts) {
			w.add(d.rt.event(t, false))
		}
	}
	d.rt.mu.Unlock()
	defer func() {
		d.rt.mu.Lock()
		defer d.rt.mu.Unlock()
		delete(d.rt.watchers, w)
	}()
	for {
		if err := d.until(ctx, w.ready, nil); err != nil {
			return driver.Wrap(ctx, "events", "", err)
		}
		for _, e := range w.take() {
			if err := f(e); err != nil {
				return err
			}
		}
	}
}
