package journal

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	batchSize  = 64 << 10
	batchDelay = 10 * time.Millisecond
)

// Log takes the lines of one step. Its methods may be called by many goroutines at once; lines of
// one caller keep their order.
type Log struct {
	w    *Writer
	step string

	mu      sync.Mutex
	file    *os.File // these four are written under w.mu too
	dirty   bool
	offset  int64 // bytes in file that records refer to
	full    bool  // a limit was reached: nothing more is kept
	dropped dropped
	attempt int
	stamp   stamper
	buf     []byte
	runs    []Run
	lines   int
	cursor  string // behind the last line
	timer   *time.Timer
	closed  bool
}

// Log returns the log of a step; for the same step it is always the same one.
func (w *Writer) Log(step string) *Log {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[step]
	if l == nil {
		l = &Log{w: w, step: step, offset: w.ends[step], full: w.full[step], buf: make([]byte, 0, batchSize/16)}
		w.logs[step] = l
	}
	return l
}

// Attempt says that the lines that follow are of the attempt n of the step, which counts from 1.
func (l *Log) Attempt(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n != l.attempt {
		l.flush()
		l.attempt = n
	}
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
		l.runs = append(l.runs, Run{Lines: 1, Container: container, Stream: stream, Partial: partial})
	}
	if len(l.buf) >= batchSize {
		l.flush()
	} else if l.lines == 1 {
		l.arm()
	}
}

// Mark says that the last line that was written stands just before this place in the runtime's own log, and flushes.
func (l *Log) Mark(cursor string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursor = cursor
	l.flush()
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
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.file != nil {
		l.w.syncer.ended = append(l.w.syncer.ended, l.file)
		l.file = nil
		l.w.syncer.arm(l.w)
	}
	l.buf = nil
}

// flush writes text and record. The caller holds mu.
func (l *Log) flush() {
	if l.lines == 0 {
		l.cursor = ""
		return
	}
	w := l.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !w.closed {
		l.commit()
		w.moved.Broadcast()
	}
	l.buf, l.runs, l.lines, l.cursor = l.buf[:0], l.runs[:0], 0, ""
	if cap(l.buf) > 4*batchSize {
		l.buf = make([]byte, 0, batchSize)
	}
}

// commit writes the text, then the record, as far as the limits allow. The caller holds both locks.
func (l *Log) commit() {
	if l.limit() {
		return
	}
	l.write(l.buf, l.runs, l.lines)
}

// write writes lines. The caller holds both locks.
func (l *Log) write(text []byte, runs []Run, lines int) {
	w := l.w
	err := w.charge(len(text))
	if err == nil {
		err = l.open()
	}
	if err == nil {
		_, err = l.file.WriteAt(text, l.offset)
	}
	if err != nil {
		w.fail(err)
		return
	}
	rec := record{Event: Event{Seq: w.seq + 1, Step: l.step, Attempt: l.attempt}, Lines: lines, Offset: l.offset, Bytes: int64(len(text)),
		CRC: crc32.Checksum(text, castagnoli), Cursor: l.cursor, Runs: runs}
	w.line = rec.append(w.line[:0])
	if w.record(w.line) {
		w.seq += uint64(lines)
		w.text += int64(len(text))
		l.offset += int64(len(text))
		l.dirty = true
	}
}

// open makes the file, or opens that of an earlier process.
func (l *Log) open() error {
	if l.file != nil {
		return nil
	}
	path := filepath.Join(l.w.dir, LogPath(l.step))
	how := os.O_CREATE | os.O_EXCL | os.O_WRONLY
	if l.offset > 0 {
		how = os.O_WRONLY
	} else if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, how, 0o644)
	l.file = f
	return err
}

// dropped counts what went beyond a limit.
type dropped struct {
	lines, bytes int64
}

// limit reports whether what was gathered goes beyond a limit. Then it is not kept; the log says so, once. The caller holds both locks.
func (l *Log) limit() bool {
	w := l.w
	if !l.full {
		size, what := w.opts.StepLimit, "this step's log"
		if size == 0 || l.offset+int64(len(l.buf)) <= size {
			size, what = w.opts.BuildLimit, "the build's logs"
			if size == 0 || w.text+int64(len(l.buf)) <= size {
				return false
			}
		}
		l.full = true
		l.say(fmt.Sprintf("the limit of %s, %d bytes, is reached: what follows is not kept", what, size))
	}
	l.dropped.lines += int64(l.lines)
	l.dropped.bytes += int64(len(l.buf)) - int64(l.lines)*(stampLen+2)
	return true
}

// say writes a line of Wharf's own. The caller holds both locks.
func (l *Log) say(words string) {
	text := l.stamp.append(nil, time.Now())
	text = append(append(append(text, ' '), words...), '\n')
	l.write(text, []Run{{Lines: 1, Stream: StreamWharf}}, 1)
}

// Dropped returns how many lines, and how many bytes of text in them, went beyond a limit and were not kept since it was asked before.
func (l *Log) Dropped() (lines, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	lines, bytes = l.dropped.lines, l.dropped.bytes
	l.dropped = dropped{}
	return lines, bytes
}
