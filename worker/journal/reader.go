package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"
)

// Reader reads a journal from its beginning, also one that still grows. It is used by one goroutine at a time.
type Reader struct {
	dir  string
	file *os.File
	buf  []byte // read and not yet decoded
	off  int64  // of the end of buf in the file
	seq  uint64 // of the last event that Next returned
	logs map[string]*os.File
	out  []Event
	err  error // damage, told once what stands before it has been
	time parser
}

// Open opens the journal in a results directory.
func Open(dir string) (*Reader, error) {
	f, err := os.Open(filepath.Join(dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &Reader{dir: dir, file: f, logs: map[string]*os.File{}}, nil
}

// record is a line of the journal.
type record struct {
	Event
	Lines  int   `json:"lines"`
	Offset int64 `json:"offset"`
	Bytes  int64 `json:"bytes"`
	Runs   []run `json:"runs"`
}

// maxBytes bounds the text of one record, and maxLine a line of the journal: more is damage, not data.
const (
	maxBytes = 8 << 20
	maxLine  = 64 << 20
)

// Next returns the events that follow, one or more. The slice is valid until the next call; the lines in it may be kept.
// When there are no more, the error is io.EOF; in a journal that grows, Next may be called again later. Any other error says
// what is wrong with the files.
func (r *Reader) Next() ([]Event, error) {
	r.out = r.out[:0]
	for more := r.err == nil; more; {
		line, err := r.line()
		if errors.Is(err, io.EOF) && len(r.out) > 0 {
			return r.out, nil
		}
		if err != nil {
			return nil, err
		}
		if more, err = r.decode(line); err != nil {
			r.err = fmt.Errorf("journal %s after entry %d: %w", r.dir, r.seq, err)
		}
	}
	if len(r.out) == 0 {
		return nil, r.err
	}
	return r.out, nil
}

// line returns the next whole line of the journal, or io.EOF.
func (r *Reader) line() ([]byte, error) {
	for from := 0; ; {
		if i := bytes.IndexByte(r.buf[from:], '\n'); i >= 0 {
			line := r.buf[:from+i]
			r.buf = r.buf[from+i+1:]
			return line, nil
		}
		from = len(r.buf)
		if from > maxLine {
			return nil, fmt.Errorf("journal %s: a line is longer than %d bytes", r.dir, maxLine)
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func (r *Reader) fill() error {
	have := len(r.buf)
	grown := make([]byte, have+max(16<<10, have))
	copy(grown, r.buf)
	n, err := r.file.ReadAt(grown[have:], r.off)
	if n == 0 {
		// What there is of a line may be written anew by a writer that failed: it is read again.
		r.off -= int64(have)
		r.buf = nil
		return err
	}
	r.off += int64(n)
	r.buf = grown[:have+n]
	return nil
}

// decode adds the events of a line to out, and reports whether more lines may be added to the same batch.
func (r *Reader) decode(line []byte) (bool, error) {
	var rec record
	if err := json.Unmarshal(line, &rec); err != nil {
		return false, err
	}
	if rec.Seq != r.seq+1 {
		return false, fmt.Errorf("entry %d follows", rec.Seq)
	}
	if rec.Kind != KindLog {
		r.seq++
		r.out = append(r.out, rec.Event)
		return len(r.out) < 256, nil
	}
	return false, r.lines(&rec)
}

// lines reads the text of a record of log lines.
func (r *Reader) lines(rec *record) error {
	if rec.Bytes < 0 || rec.Bytes > maxBytes || rec.Offset < 0 {
		return fmt.Errorf("entry %d claims %d bytes at %d of the log of %s", rec.Seq, rec.Bytes, rec.Offset, rec.Step)
	}
	f, err := r.log(rec.Step)
	if err != nil {
		return err
	}
	text := make([]byte, rec.Bytes)
	if _, err := f.ReadAt(text, rec.Offset); err != nil {
		return fmt.Errorf("log of %s: %w", rec.Step, err)
	}
	n := 0
	for _, run := range rec.Runs {
		for range run.Lines {
			line, rest, ok := bytes.Cut(text, []byte{'\n'})
			if !ok {
				return fmt.Errorf("entry %d claims more lines than the log of %s has", rec.Seq, rec.Step)
			}
			text = rest
			r.seq++
			n++
			var t time.Time
			t, line = r.time.parse(line)
			r.out = append(r.out, Event{Seq: r.seq, Time: t, Kind: KindLog, Step: rec.Step, Container: run.Container, Stream: run.Stream,
				Partial: run.Partial, Line: line[:len(line):len(line)]})
		}
	}
	if n != rec.Lines || len(text) != 0 {
		return fmt.Errorf("entry %d and the log of %s do not agree", rec.Seq, rec.Step)
	}
	return nil
}

func (r *Reader) log(step string) (*os.File, error) {
	if f := r.logs[step]; f != nil {
		return f, nil
	}
	if !filepath.IsLocal(LogPath(step)) {
		return nil, fmt.Errorf("%q is no step", step)
	}
	f, err := os.Open(filepath.Join(r.dir, LogPath(step)))
	if err == nil {
		r.logs[step] = f
	}
	return f, err
}

// release closes the log of a step that has ended; it is opened again if it is needed.
func (r *Reader) release(step string) {
	if f := r.logs[step]; f != nil {
		_ = f.Close()
		delete(r.logs, step)
	}
}

// Close frees the reader.
func (r *Reader) Close() error {
	for step := range r.logs {
		r.release(step)
	}
	return r.file.Close()
}

// Read iterates over all events that a results directory holds, in order. An error is the last pair.
func Read(dir string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r, err := Open(dir)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer func() { _ = r.Close() }()
		for {
			events, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			for i := range events {
				if !yield(events[i], nil) {
					return
				}
			}
		}
	}
}
