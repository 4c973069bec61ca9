package journal

import (
	"os"
	"sync"
	"time"
)

// syncEvery is how long what was written may be in the machine's memory only.
const syncEvery = time.Second

// syncer brings to the disk what was written: logs first, then the journal that refers to them.
type syncer struct {
	timer *time.Timer // guarded by Writer.mu, as the next two
	armed bool
	ended []*os.File // logs that are closed once they are on the disk
	mu    sync.Mutex // one goes at a time
}

// arm sees to it that what is written now will be on the disk soon. The caller holds w.mu.
func (s *syncer) arm(w *Writer) {
	if s.armed || w.closed {
		return
	}
	s.armed = true
	if s.timer == nil {
		s.timer = time.AfterFunc(syncEvery, func() { s.sync(w) })
		return
	}
	s.timer.Reset(syncEvery)
}

// sync syncs the files that were written to.
func (s *syncer) sync(w *Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.mu.Lock()
	s.armed = false
	if w.closed {
		w.mu.Unlock()
		return
	}
	ended := s.ended
	s.ended = nil
	var files []*os.File
	for _, l := range w.logs {
		if l.dirty && l.file != nil {
			files = append(files, l.file)
			l.dirty = false
		}
	}
	journal := w.file
	w.mu.Unlock()
	var first error
	for _, f := range append(files, ended...) {
		if err := f.Sync(); err != nil && first == nil {
			first = err
		}
	}
	for _, f := range ended {
		_ = f.Close()
	}
	if err := journal.Sync(); err != nil && first == nil {
		first = err
	}
	if first != nil {
		w.Fail(first)
	}
}

// stop syncs for the last time. The journal itself follows with what is still to be written.
func (s *syncer) stop(w *Writer) {
	w.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	closed := w.closed
	w.mu.Unlock()
	if !closed {
		s.sync(w)
	}
}
