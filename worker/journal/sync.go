package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	mark  *os.File   // says how far the journal is on the disk
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
	journal, size := w.file, w.size
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
		return
	}
	s.note(w.dir, size)
}

// note writes down that the journal, and the logs that it refers to, are on the disk up to an offset. Whether the note itself is does not matter: an
// older one is true as well. The caller holds s.mu, or there is no other.
func (s *syncer) note(dir string, size int64) {
	if s.mark == nil {
		s.mark, _ = os.OpenFile(filepath.Join(dir, syncedName), os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if s.mark != nil {
		_, _ = s.mark.WriteAt(fmt.Appendf(nil, "%020d\n", size), 0)
	}
}

// synced reads how far the journal was on the disk at least; 0 if nothing says so.
func synced(dir string) int64 {
	text, err := os.ReadFile(filepath.Join(dir, syncedName))
	if err != nil || len(text) != 21 {
		return 0
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return size
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
