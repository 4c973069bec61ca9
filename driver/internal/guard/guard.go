// Package guard lets many callers share one answer or take turns, each until its own context ends.
package guard

import (
	"context"
	"sync"
)

// Once keeps the first good answer to a question. The zero value is ready for use.
type Once[T any] struct {
	lock  Locks
	known bool
	value T
}

// Do returns the answer, which one caller at a time asks for while the others wait, each until its ctx ends.
func (o *Once[T]) Do(ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	unlock, err := o.lock.Lock(ctx, "")
	if err != nil {
		var none T
		return none, err
	}
	defer unlock()
	if o.known {
		return o.value, nil
	}
	v, err := ask(ctx)
	if err == nil {
		o.value, o.known = v, true
	}
	return v, err
}

// Locks is a mutex for each key. The zero value is ready for use.
type Locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	ch    chan struct{} // holds one token while the lock is held
	users int
}

// Lock waits for the key's lock until ctx ends, and returns the function that frees it.
func (l *Locks) Lock(ctx context.Context, key string) (func(), error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[key]
	if k == nil {
		k = &lock{ch: make(chan struct{}, 1)}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
		l.mu.Unlock()
	}
	select {
	case k.ch <- struct{}{}:
		return func() { <-k.ch; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// IDs remembers ids as hints. It forgets all when it has grown large; the zero value is ready for use.
type IDs struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (s *IDs) Add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil || len(s.ids) > 10_000 {
		s.ids = map[string]struct{}{}
	}
	s.ids[id] = struct{}{}
}

func (s *IDs) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ids, id)
}

func (s *IDs) Has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ids[id]
	return ok
}
