package journal

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	batchSize  = 64 << 10
	batchDelay = 50 * time.Millisecond
)

// Log takes the lines of one step. Its methods may be called by many goroutines at once; lines of
// one caller keep their order.
type Log struct {
	w    *Writer
	step string

	mu     sync.Mutex
	file   *os.File
	stamp  stamper
	buf    []byte
	runs   []run
	lines  int
	offset int64 // bytes in file that records refer to
	timer  *time.Timer
	closed bool
}

// run is a number of lines in a row from one source.
type run struct {
	Lines     int    `json:"lines"`
	Container string `json:"container,omitempty"`
	Stream    string `json:"stream"`
	Partial   bool   `json:"partial,omitempty"`
}

// Log returns the log of a step; for the same step it is always the same one.
func (w *Writer) Log(step string) *Log {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[step]
	if l == nil {
		l = &Log{w: w, step: step, buf: make([]byte, 0, batchSize+8<<10)}
		w.logs[step] = l
	}
	return l
}

// Write adds a line, without its newline. Line is copied. After a failure of the writer it is dropped.
func (l *Log) Write(t time.Time, container, stream string, line []byte, partial bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.buf = l.stamp.append(l.buf, t)
	l.buf = append(l.buf, ' ')
	l.buf = append(l.buf, line...)
	l.buf = append(l.buf, '\n')
	l.lines++
	if n := len(l.runs) - 1; n >= 0 && l.runs[n].Partial == partial && l.runs[n].Stream == stream && l.runs[n].Container == container {
		l.runs[n].Lines++
	} else {
		l.runs = append(l.runs, run{Lines: 1, Container: container, Stream: stream, Partial: partial})
	}
	if len(l.buf) >= batchSize {
		l.flush()
	} else if l.lines == 1 {
		l.arm()
	}
}

// arm sees to it that what is in buf does not stay there for long. The caller holds mu.
func (l *Log) arm() {
	if l.timer == nil {
		l.timer = time.AfterFunc(batchDelay, l.Flush)
		return
	}
	l.timer.Reset(batchDelay)
}

// Flush writes what was gathered, so that what is appended to the journal next stands behind it.
func (l *Log) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

// Close flushes and frees the log. Lines that are written afterwards are dropped.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
	l.buf = nil
}

// flush writes text and record. The caller holds mu.
func (l *Log) flush() {
	if l.lines == 0 {
		return
	}
	w := l.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !w.closed {
		l.commit()
		w.moved.Broadcast()
	}
	l.buf, l.runs, l.lines = l.buf[:0], l.runs[:0], 0
	if cap(l.buf) > 4*batchSize {
		l.buf = make([]byte, 0, batchSize+8<<10)
	}
}

// commit writes the text, then the record. The caller holds both locks.
func (l *Log) commit() {
	w := l.w
	err := w.charge(len(l.buf))
	if err == nil {
		err = l.open()
	}
	if err == nil {
		_, err = l.file.WriteAt(l.buf, l.offset)
	}
	if err != nil {
		w.fail(err)
		return
	}
	w.line = l.record(w.line[:0])
	if w.record(w.line) {
		w.seq += uint64(l.lines)
		l.offset += int64(len(l.buf))
	}
}

func (l *Log) open() error {
	if l.file != nil {
		return nil
	}
	path := filepath.Join(l.w.dir, LogPath(l.step))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	l.file = f
	return err
}

// record appends the record of what is in buf: by hand, for standard output and standard error may alternate line by line.
func (l *Log) record(b []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, l.w.seq+1, 10)
	b = append(b, `,"kind":"log","step":`...)
	b = strconv.AppendQuote(b, l.step)
	b = append(b, `,"lines":`...)
	b = strconv.AppendInt(b, int64(l.lines), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, l.offset, 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, int64(len(l.buf)), 10)
	b = append(b, `,"runs":[`...)
	for i, r := range l.runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"lines":`...)
		b = strconv.AppendInt(b, int64(r.Lines), 10)
		if r.Container != "" {
			b = append(b, `,"container":`...)
			b = strconv.AppendQuote(b, r.Container)
		}
		b = append(b, `,"stream":`...)
		b = strconv.AppendQuote(b, r.Stream)
		if r.Partial {
			b = append(b, `,"partial":true`...)
		}
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}
