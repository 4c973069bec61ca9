package podman

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hub reads the service's events, on one connection for all who wait, and wakes those whom they
// concern. It is opened when it is first needed.
type hub struct {
	d       *Driver
	start   sync.Once
	mu      sync.Mutex
	wakers  map[string]map[*waker]struct{} // by container
	streams map[*eventStream]struct{}
}

// waker is woken, at least once, after anything that may have changed its container's state.
type waker struct {
	ch     chan struct{}
	starts bool        // it wants to hear of a start, too
	died   atomic.Bool // the service told of the container's end
}

// eventStream gets every event; nil stands for a new connection, before which events may have been missed.
type eventStream struct {
	mu   sync.Mutex
	list []*event
	news chan struct{}
}

func newHub(d *Driver) *hub {
	return &hub{d: d, wakers: map[string]map[*waker]struct{}{}, streams: map[*eventStream]struct{}{}}
}

func (h *hub) open() { h.start.Do(func() { h.d.tasks.Go(h.run) }) }

// watch registers a waker, which is told of a start if starts is set; leave takes it away.
func (h *hub) watch(id string, starts bool) (w *waker, leave func()) {
	h.open()
	w = &waker{ch: make(chan struct{}, 1), starts: starts}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wakers[id] == nil {
		h.wakers[id] = map[*waker]struct{}{}
	}
	h.wakers[id][w] = struct{}{}
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.wakers[id], w)
		if len(h.wakers[id]) == 0 {
			delete(h.wakers, id)
		}
	}
}

// await returns when something happened to the container after changed had said that nothing had yet.
func (h *hub) await(ctx context.Context, id string, changed func() bool) error {
	w, leave := h.watch(id, true)
	defer leave()
	if changed() {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ch:
		return nil
	}
}

// poke wakes those who wait for the container; started says that all that happened is its start.
func (h *hub) poke(id string, started bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.wakers[id] {
		if w.starts || !started {
			w.wake()
		}
	}
}

func (w *waker) wake() {
	select {
	case w.ch <- struct{}{}:
	default: // it will look anyway
	}
}

// listen registers a stream of all events; leave takes it away.
func (h *hub) listen() (s *eventStream, leave func()) {
	h.open()
	s = &eventStream{news: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams[s] = struct{}{}
	return s, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.streams, s)
	}
}

func (s *eventStream) add(m *event) {
	s.mu.Lock()
	s.list = append(s.list, m)
	s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// next waits for events and returns them.
func (s *eventStream) next(ctx context.Context) ([]*event, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.news:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list, nil
}

// run keeps a connection for events until the driver is closed.
func (h *hub) run() {
	ctx := h.d.ctx
	for pause := 50 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		began := time.Now()
		h.read(ctx)
		if time.Since(began) > 10*time.Second {
			pause = 50 * time.Millisecond
		}
		retry := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			retry.Stop()
		case <-retry.C:
		}
	}
}

// read passes events on until the connection breaks. The service answers when it listens only with the first event
// or, on some versions, at once; so it asks for the last seconds too.
func (h *hub) read(ctx context.Context) {
	q := filters(map[string][]string{"type": {"container", "volume"}})
	q.Set("stream", "true")
	q.Set("since", strconv.FormatInt(time.Now().Add(-2*time.Second).Unix(), 10))
	body, err := h.d.api.open(ctx, "GET", "/events", q, nil)
	if err != nil {
		return
	}
	defer body.Close()
	defer context.AfterFunc(ctx, func() { _ = body.Close() })()
	h.connected()
	dec := json.NewDecoder(body)
	for {
		var m event
		if err := dec.Decode(&m); err != nil {
			return
		}
		h.pass(&m)
	}
}

// connected wakes everybody: what happened without a connection is not told again.
func (h *hub) connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ws := range h.wakers {
		for w := range ws {
			w.wake()
		}
	}
	h.missed()
}

// lookAgain has those look who are told of all events: something has changed of which the service tells none.
func (h *hub) lookAgain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missed()
}

// missed has those look who are told of all events; the caller holds the lock.
func (h *hub) missed() {
	for s := range h.streams {
		s.add(nil)
	}
}

func (h *hub) pass(m *event) {
	if m.Type == "volume" {
		h.marked(m)
		return
	}
	h.mu.Lock()
	for w := range h.wakers[m.Actor.ID] {
		switch m.Action {
		case actionCreate, actionInit:
		case actionDied:
			w.died.Store(true)
			w.wake()
		case actionStart:
			if w.starts {
				w.wake()
			}
		default:
			w.wake()
		}
	}
	var streams []*eventStream
	if m.Actor.Attributes[labelOwner] == h.d.owner {
		streams = slices.Collect(maps.Keys(h.streams))
	}
	h.mu.Unlock()
	for _, s := range streams {
		s.add(m)
	}
}

// marked wakes those who wait for the container that a volume marks, if it is a mark that was set, and has those look at it who are told of all events. A mark goes with its container.
func (h *hub) marked(m *event) {
	_, short, ok := strings.Cut(m.Actor.Attributes["name"], "wharf_"+h.d.owner+"__mark_")
	if !ok || short == "" || m.Action == actionRemove {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, ws := range h.wakers {
		for w := range ws {
			if strings.HasPrefix(id, short) {
				w.wake()
			}
		}
	}
	for s := range h.streams {
		s.add(&event{Type: m.Type, marks: short, TimeNano: m.TimeNano})
	}
}
