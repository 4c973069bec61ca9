// Package outlet writes a program's output without making the one who produces it wait for each line, and without
// leaving any of it in a buffer while nothing happens.
package outlet

import (
	"io"
	"sync"
)

// limit bounds what is on its way, in bytes.
const limit = 1 << 20

// Writer collects what is written while the destination is busy and hands it over in one piece as soon as the destination
// is free: under load it writes much at once, and when idle it holds nothing back. A Write waits when
// the destination is more than 1 MiB behind.
//
// Once the destination failed, everything further is dropped and Write still succeeds: a build must not end in
// the middle because of its display. Its methods may be called by many goroutines at once.
type Writer struct {
	dst    io.Writer
	failed func(error)

	mu      sync.Mutex
	changed sync.Cond // pending, closed or err changed
	pending []byte
	closed  bool
	err     error
	done    chan struct{}
}

// New returns a Writer to dst. If failed is not nil it is called once, with the first error of dst, by another goroutine.
func New(dst io.Writer, failed func(error)) *Writer {
	w := &Writer{dst: dst, failed: failed, done: make(chan struct{})}
	w.changed.L = &w.mu
	go w.run()
	return w
}

// Write takes a copy of p. It never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > limit && w.err == nil && !w.closed {
		w.changed.Wait()
	}
	if w.err == nil && !w.closed {
		w.pending = append(w.pending, p...)
		w.changed.Broadcast()
	}
	return len(p), nil
}

// Close waits until everything is written and returns the destination's first error, or nil. The destination is
// not closed. What is written afterwards is dropped.
func (w *Writer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.changed.Broadcast()
	w.mu.Unlock()
	<-w.done
	return w.err
}

func (w *Writer) run() {
	defer close(w.done)
	var spare []byte
	for {
		w.mu.Lock()
		for len(w.pending) == 0 && !w.closed {
			w.changed.Wait()
		}
		out := w.pending
		w.pending = spare[:0]
		w.changed.Broadcast()
		w.mu.Unlock()
		if len(out) == 0 {
			return
		}
		if _, err := w.dst.Write(out); err != nil {
			w.fail(err)
			return
		}
		spare = out
	}
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	w.err, w.pending = err, nil
	w.changed.Broadcast()
	w.mu.Unlock()
	if w.failed != nil {
		w.failed(err)
	}
}
