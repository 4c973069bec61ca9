// Package logqueue brings output from the goroutines that read it from a runtime, one for each container, to the one consumer
// of a log, within a bound.
package logqueue

import (
	"sync"
	"time"
)

// limit is how many bytes of one source wait for the consumer at most.
const limit = 4 << 20

// itemCost is what an item of few bytes counts at least.
const itemCost = 128

// Item is a piece of a source's output, or, if Data is nil, the end of it or a message.
type Item[S comparable] struct {
	Source S
	Data   []byte
	At     time.Time
	Err    error
}

// Queue brings items from sources to a consumer. Many goroutines may push, one may pop.
type Queue[S comparable] struct {
	mu     sync.Mutex
	ready  *sync.Cond // something for the consumer
	room   *sync.Cond // something for the sources
	items  []Item[S]
	head   int
	queued map[S]int // bytes by source
	err    error
}

// New returns an empty queue.
func New[S comparable]() *Queue[S] {
	q := &Queue[S]{queued: map[S]int{}}
	q.ready, q.room = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
	return q
}

// Push adds an item. Without room it waits if it may, and returns false if it may not or the queue has failed.
// Messages always find room.
func (q *Queue[S]) Push(it Item[S], wait bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for it.Data != nil && q.queued[it.Source] > limit && q.err == nil {
		if !wait {
			return false
		}
		q.room.Wait()
	}
	if q.err != nil {
		return false
	}
	if it.Data != nil {
		q.queued[it.Source] += max(len(it.Data), itemCost)
	}
	q.items = append(q.items, it)
	if len(q.items) == q.head+1 {
		q.ready.Signal()
	}
	return true
}

// Pop waits for an item and takes it.
func (q *Queue[S]) Pop() (Item[S], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.items) && q.err == nil {
		q.ready.Wait()
	}
	if q.err != nil {
		return Item[S]{}, q.err
	}
	it := q.items[q.head]
	q.items[q.head] = Item[S]{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 1024 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	if it.Data != nil {
		full := q.queued[it.Source] > limit
		q.queued[it.Source] -= max(len(it.Data), itemCost)
		if full {
			q.room.Broadcast()
		}
	}
	return it, nil
}

// Fail ends the queue for both sides; the first error counts.
func (q *Queue[S]) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.ready.Broadcast()
	q.room.Broadcast()
}
