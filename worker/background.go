package worker

import "sync"

// background counts what goes on beside the steps. Unlike a [sync.WaitGroup] it takes more while someone waits: what a hanging
// runtime held up may begin something when nobody reckons with it any more. The zero value is ready for use.
type background struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n has become 0; nil while nobody waits
}

// Go calls f in a goroutine of its own.
func (b *background) Go(f func()) {
	b.mu.Lock()
	b.n++
	b.mu.Unlock()
	go func() {
		defer b.done()
		f()
	}()
}

func (b *background) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n--; b.n == 0 && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
}

// Wait returns when nothing goes on.
func (b *background) Wait() {
	b.mu.Lock()
	if b.n == 0 {
		b.mu.Unlock()
		return
	}
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()
	<-idle
}
