package journal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// Reader reads a journal, also one that still grows. It is used by one goroutine at a time.
type Reader struct {
	dir    string
	file   *os.File
	header Header
	buf    []byte // read and not yet decoded
	off    int64  // of the end of buf in the file
	seq    uint64 // of the last entry that was decoded
	after  uint64 // entries up to this one are not told
	logs   map[string]*os.File
	out    []Event
	batch  *Batch // decoded, and not yet told
	err    error  // damage, told once what stands before it has been
	decode Decoder
	noText bool
	noLogs bool
	step   string // the only one that is wanted
}

// Open opens the journal in a results directory, to be read from its beginning.
func Open(dir string) (*Reader, error) { return OpenAfter(dir, 0) }

// OpenAfter opens the journal in a results directory, to be read from the entry behind number seq; that may be one that is not there
// yet. It finds the place in a number of steps that grows with the logarithm of the journal's length.
func OpenAfter(dir string, seq uint64) (*Reader, error) {
	f, err := os.Open(filepath.Join(dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	r := &Reader{dir: dir, file: f, after: seq, logs: map[string]*os.File{}}
	line, err := r.line()
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("journal %s: it is empty", dir)
	}
	if err == nil {
		r.header, err = parseHeader(dir, line)
	}
	if err == nil && seq > 0 {
		err = r.seek(seq)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

// Header returns the journal's first line.
func (r *Reader) Header() Header { return r.header }

// WithoutText leaves the text of log lines unread: NextBatch returns all but that, and Next is not to be used.
func (r *Reader) WithoutText() { r.noText = true }

// WithoutLogs leaves log lines out.
func (r *Reader) WithoutLogs() { r.noLogs = true }

// Only leaves out what is not of a step, whose ID is given; the text of others is not read.
func (r *Reader) Only(step string) { r.step = step }

// Next returns the events that follow, one or more. The slice is valid until the next call; the lines in it may be kept.
// When there are no more, the error is io.EOF; in a journal that grows, Next may be called again later. Any other error says
// what is wrong with the files.
func (r *Reader) Next() ([]Event, error) {
	r.out = r.out[:0]
	for len(r.out) < 256 {
		b, err := r.peek()
		if len(r.out) > 0 && (err != nil || b.Event.Kind == KindLog) {
			return r.out, nil
		}
		if err != nil {
			return nil, err
		}
		r.batch = nil
		out, err := r.decode.Append(r.out, b)
		if err != nil {
			r.err = fmt.Errorf("journal %s: %w", r.dir, err)
			return nil, r.err
		}
		if r.out = out; b.Event.Kind == KindLog {
			break
		}
	}
	return r.out, nil
}

// NextBatch returns what follows as it is stored: one event, or some log lines. The batch may be kept. The errors are those of Next.
func (r *Reader) NextBatch() (*Batch, error) {
	b, err := r.peek()
	r.batch = nil
	return b, err
}

// All calls f with every batch up to the end that there is now.
func (r *Reader) All(f func(*Batch)) error {
	for {
		b, err := r.NextBatch()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f(b)
	}
}

// peek returns the next batch, which stays the next until r.batch is nil again.
func (r *Reader) peek() (*Batch, error) {
	for r.batch == nil && r.err == nil {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		b, err := r.read(line)
		if err != nil {
			r.err = fmt.Errorf("journal %s after entry %d: %w", r.dir, r.seq, err)
		}
		r.batch = b
	}
	if r.batch == nil {
		return nil, r.err
	}
	return r.batch, nil
}

// read reads the record in a line, with its text; nil if nothing of it is wanted.
func (r *Reader) read(line []byte) (*Batch, error) {
	rec, err := parseRecord(line, r.seq)
	if err != nil {
		return nil, err
	}
	last := r.seq + rec.entries()
	defer func() { r.seq = last }()
	if last <= r.after || r.noLogs && rec.Kind == KindLog || r.step != "" && rec.Step != r.step {
		return nil, nil
	}
	b := &Batch{First: rec.Seq, Event: rec.Event, Runs: rec.Runs, Bytes: rec.Bytes, Cursor: rec.Cursor}
	if rec.Kind == KindStep && rec.State.Final() {
		r.release(rec.Step)
	}
	if rec.Kind != KindLog {
		return b, nil
	}
	if r.noText {
		return b, b.After(r.after)
	}
	f, err := r.log(rec.Step)
	if err != nil {
		return nil, err
	}
	b.Text = make([]byte, rec.Bytes)
	if _, err := f.ReadAt(b.Text, rec.Offset); err != nil {
		return nil, fmt.Errorf("log of %s: %w", rec.Step, err)
	}
	if crc32.Checksum(b.Text, castagnoli) != rec.CRC {
		return nil, fmt.Errorf("log of %s: the %d bytes at %d are not those that were written", rec.Step, rec.Bytes, rec.Offset)
	}
	return b, b.After(r.after)
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

// done is the offset behind the last line that was decoded.
func (r *Reader) done() int64 { return r.off - int64(len(r.buf)) }

// log opens the log of a step, and closes those of others if they are many: a build may have thousands of steps.
func (r *Reader) log(step string) (*os.File, error) {
	if f := r.logs[step]; f != nil {
		return f, nil
	}
	if len(r.logs) >= mostLogs {
		for other := range r.logs {
			r.release(other)
		}
	}
	f, err := os.Open(filepath.Join(r.dir, LogPath(step)))
	if err == nil {
		r.logs[step] = f
	}
	return f, err
}

// mostLogs is how many logs a reader has open at once.
const mostLogs = 16

// release closes the log of a step, which may be opened again.
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
