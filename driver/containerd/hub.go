//go:build linux

package containerd

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/typeurl/v2"
)

// hub listens to the daemon's events, over one connection for all waiters, and wakes those whose
// container an event is about. After a gap in the events it wakes all.
type hub struct {
	d       *Driver
	mu      sync.Mutex
	running bool
	live    bool
	err     error
	changed chan struct{}                     // closed and replaced when live changes
	waiters map[string]map[chan struct{}]bool // true for those who wait for an end only
	all     map[chan struct{}]struct{}
}

// watch registers a waiter for events about a container; without an id, for all events. One who waits for an end is not woken by a
// start. The channel holds one wake-up. It returns when events are sure to arrive, or ctx ends, or the daemon cannot be reached.
func (h *hub) watch(ctx context.Context, id string, endsOnly bool) (<-chan struct{}, func(), error) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	if h.waiters == nil {
		h.waiters, h.all, h.changed = map[string]map[chan struct{}]bool{}, map[chan struct{}]struct{}{}, make(chan struct{})
	}
	if id == "" {
		h.all[c] = struct{}{}
	} else {
		if h.waiters[id] == nil {
			h.waiters[id] = map[chan struct{}]bool{}
		}
		h.waiters[id][c] = endsOnly
	}
	if !h.running && h.d.ctx.Err() == nil {
		h.running = true
		h.d.tasks.Go(h.run)
	}
	h.mu.Unlock()
	leave := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, c)
		if delete(h.waiters[id], c); len(h.waiters[id]) == 0 {
			delete(h.waiters, id)
		}
	}
	if err := h.awaitLive(ctx); err != nil {
		leave()
		return nil, nil, err
	}
	return c, leave, nil
}

func (h *hub) awaitLive(ctx context.Context) error {
	for {
		h.mu.Lock()
		live, err, changed := h.live, h.err, h.changed
		h.mu.Unlock()
		if live || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (h *hub) set(live bool, err error) {
	h.mu.Lock()
	h.live, h.err = live, err
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	if live {
		h.poke("")
	}
}

// poke wakes the waiters of a container; of all, if id is empty.
func (h *hub) poke(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeAll()
	if id != "" {
		for c := range h.waiters[id] {
			wake(c)
		}
		return
	}
	for _, set := range h.waiters {
		for c := range set {
			wake(c)
		}
	}
}

// pokeStart wakes those who wait for more than a container's end.
func (h *hub) pokeStart(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeAll()
	for c, endsOnly := range h.waiters[id] {
		if !endsOnly {
			wake(c)
		}
	}
}

func (h *hub) wakeAll() {
	for c := range h.all {
		wake(c)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run keeps a subscription until the driver is closed.
func (h *hub) run() {
	ctx := h.d.ctx
	for pause := 50 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 2*time.Second) {
		lived, err := h.listen(ctx)
		h.set(false, err)
		if lived {
			pause = 50 * time.Millisecond
		}
		retry := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-retry.C:
		}
		retry.Stop()
	}
}

// syncTopic is of the event by which a hub sees that its subscription is in force.
const syncTopic = "/wharf/sync"

// listen subscribes and hands events on until the subscription breaks. The daemon does not say when a
// subscription has begun, so an event of our own is sent until it comes back.
func (h *hub) listen(ctx context.Context) (lived bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	service := h.d.client.EventService()
	envelopes, errs := service.Subscribe(ctx, `namespace==`+h.d.cfg.Namespace)
	nonce := newUID()
	again := time.NewTimer(0)
	defer again.Stop()
	for pause := 5 * time.Millisecond; ; {
		select {
		case <-again.C:
			if err := service.Publish(ctx, syncTopic, &events.NamespaceUpdate{Name: nonce}); err != nil {
				return lived, err
			}
			pause *= 2
			again.Reset(pause)
		case err := <-errs:
			if err == nil {
				err = errClosed
			}
			return lived, err
		case e := <-envelopes:
			if e == nil {
				continue
			}
			v, err := typeurl.UnmarshalAny(e.Event)
			if err != nil {
				continue
			}
			if e.Topic == syncTopic {
				if u, ok := v.(*events.NamespaceUpdate); ok && u.Name == nonce && !lived {
					lived = true
					again.Stop()
					h.set(true, nil)
				}
				continue
			}
			switch e := v.(type) {
			case *events.TaskCreate:
				h.pokeStart(e.ContainerID)
			case *events.TaskStart:
				h.pokeStart(e.ContainerID)
			default:
				if id := containerOf(v); id != "" {
					h.poke(id)
				}
			}
		}
	}
}

// containerOf returns the container that an event is about.
func containerOf(v any) string {
	switch e := v.(type) {
	case interface{ GetContainerID() string }:
		return e.GetContainerID()
	case *events.ContainerCreate:
		return e.ID
	case *events.ContainerUpdate:
		return e.ID
	case *events.ContainerDelete:
		return e.ID
	}
	return ""
}
