package fake

import (
	"bytes"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// journal is what a task's containers printed.
type journal struct {
	mu      sync.Mutex
	entries []driver.LogEntry
	rest    map[origin][]byte // beginnings of lines
	ended   bool
	gone    bool          // removed with its task
	changed chan struct{} // closed at the next change; nil if nobody waits
	now     func() time.Time
}

type origin struct {
	container string
	stream    driver.Stream
}

// write splits what a container printed into entries.
func (j *journal) write(from origin, p []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.rest == nil {
		j.rest = map[origin][]byte{}
	}
	for len(p) > 0 {
		line, after, whole := bytes.Cut(p, []byte{'\n'})
		if room := driver.MaxLogLine - len(j.rest[from]); len(line) > room {
			line, after, whole = p[:room], p[room:], false
		}
		text := append(j.rest[from], line...)
		p = after
		if !whole && len(text) < driver.MaxLogLine {
			j.rest[from] = text
			return
		}
		j.append(from, text, !whole)
		delete(j.rest, from)
	}
}

func (j *journal) append(from origin, text []byte, partial bool) {
	j.entries = append(j.entries, driver.LogEntry{
		Time: j.now(), Container: from.container, Stream: from.stream, Partial: partial, Line: text,
	})
	j.wake()
}

func (j *journal) wake() {
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// flush writes the last lines of a container that has ended. One whose last entry was a whole MaxLogLine gets
// an empty last part, so that the line ends.
func (j *journal) flush(container string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, stream := range []driver.Stream{driver.Stdout, driver.Stderr} {
		from := origin{container, stream}
		if text, ok := j.rest[from]; ok || j.open(from) {
			j.append(from, text, false)
			delete(j.rest, from)
		}
	}
}

// open reports whether the last entry of a stream says that its line goes on.
func (j *journal) open(from origin) bool {
	for i := len(j.entries) - 1; i >= 0; i-- {
		if e := &j.entries[i]; e.Container == from.container && e.Stream == from.stream {
			return e.Partial
		}
	}
	return false
}

// end says that nothing follows; with gone, that what there was is lost.
func (j *journal) end(gone bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	j.gone = j.gone || gone
	j.wake()
}

// at returns entry i, or what there is instead: the end, or a channel that the next change closes.
func (j *journal) at(i int) (entry driver.LogEntry, ok, ended, gone bool, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.gone:
		gone = true
	case i < len(j.entries):
		entry, ok = j.entries[i], true
	case j.ended:
		ended = true
	default:
		if j.changed == nil {
			j.changed = make(chan struct{})
		}
		changed = j.changed
	}
	return
}

// sink is a standard stream of a process: the journal of its task, or what an Exec was given.
type sink struct {
	p *Proc
	w func([]byte) error
}

// Write never fails for a process that lives. One that was killed does not return from it.
func (s *sink) Write(p []byte) (int, error) {
	s.p.check()
	if err := s.w(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
