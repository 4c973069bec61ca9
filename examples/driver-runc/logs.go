package runc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// entry is a line of the log file.
type entry struct {
	Time    time.Time     `json:"t"`
	Stream  driver.Stream `json:"s"`
	Partial bool          `json:"p,omitempty"`
	Line    []byte        `json:"l"`
}

// logWriter writes entries; those of one stream in order, each as a whole.
type logWriter struct {
	mu   sync.Mutex
	file *os.File
}

// copy takes a stream to its end. What came before the container began is dropped.
func (w *logWriter) copy(r io.Reader, stream driver.Stream, began <-chan struct{}) {
	in := bufio.NewReaderSize(r, driver.MaxLogLine)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for {
		line, err := in.ReadSlice('\n')
		select {
		case <-began:
		default:
			line = nil
		}
		if len(line) > 0 {
			text, whole := bytes.CutSuffix(line, []byte("\n"))
			partial := !whole && errors.Is(err, bufio.ErrBufferFull)
			enc.Encode(entry{Time: time.Now(), Stream: stream, Partial: partial, Line: text}) // to a buffer: cannot fail
		}
		ended := err != nil && !errors.Is(err, bufio.ErrBufferFull)
		if ended || in.Buffered() == 0 || out.Len() > 256<<10 {
			w.mu.Lock()
			w.file.Write(out.Bytes()) // where the disk is full there is nobody to tell
			w.mu.Unlock()
			out.Reset()
		}
		if ended {
			return
		}
	}
}

// Logs reads the log file. See [driver.Driver].
func (d *Driver) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	call, done := d.begin(ctx)
	r, err := d.logs(call, id, opts)
	if err != nil {
		done()
		return nil, driver.Wrap(ctx, "logs", string(id), classify(err))
	}
	r.cancel = done
	return r, nil
}

func (d *Driver) logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (*logReader, error) {
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	r := &logReader{d: d, t: t, opts: opts}
	if opts.From != "" {
		of, at, _ := strings.Cut(string(opts.From), "@")
		r.at, err = strconv.ParseInt(at, 10, 64)
		if err != nil || r.at < 0 || of != string(id) {
			return nil, driver.WithClass(errdefs.ErrInvalidArgument, "cursor %q: is not one of this task", opts.From)
		}
	}
	r.file, err = os.OpenFile(filepath.Join(t.dir, "log"), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := r.file.Stat()
	if err == nil && r.at > info.Size() {
		err = driver.WithClass(errdefs.ErrInvalidArgument, "cursor %q: is behind the end", opts.From)
	}
	if err == nil {
		_, err = r.file.Seek(r.at, io.SeekStart)
	}
	if err != nil {
		r.file.Close()
		return nil, err
	}
	r.in = bufio.NewReaderSize(r.file, 64<<10)
	r.ctx, r.stop = context.WithCancelCause(ctx)
	return r, nil
}

// logReader reads the log file up to its end, and with Follow waits there for more.
type logReader struct {
	d      *Driver
	t      *task
	opts   driver.LogOptions
	file   *os.File
	in     *bufio.Reader
	rest   []byte // of an entry that is not whole yet
	at     int64  // where the next entry begins
	ctx    context.Context
	stop   context.CancelCauseFunc
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
}

var errReaderClosed = driver.WithClass(context.Canceled, "the reader was closed")

// Next returns the next entry. See [driver.LogReader].
func (r *logReader) Next() (driver.LogEntry, error) {
	e, err := r.next()
	if errors.Is(err, io.EOF) {
		return e, io.EOF
	}
	return e, driver.Wrap(context.WithoutCancel(r.ctx), "logs", string(r.t.ID), classify(err))
}

func (r *logReader) next() (driver.LogEntry, error) {
	for {
		e, ok, err := r.read()
		if err != nil || ok {
			return e, err
		}
		if !r.opts.Follow {
			return e, io.EOF
		}
		if err := r.more(); err != nil {
			return e, err
		}
	}
}

// read returns the next entry that is whole and wanted; none at the end of what there is.
func (r *logReader) read() (e driver.LogEntry, ok bool, err error) {
	r.mu.Lock() // Close must not take the file away meanwhile
	defer r.mu.Unlock()
	for {
		if err := context.Cause(r.ctx); err != nil {
			return e, false, err
		}
		line, err := r.in.ReadBytes('\n')
		r.rest = append(r.rest, line...)
		if errors.Is(err, io.EOF) {
			return e, false, nil
		}
		if err != nil {
			return e, false, err
		}
		var in entry
		if err := json.Unmarshal(r.rest, &in); err != nil {
			return e, false, fmt.Errorf("the log is broken at %d: %w", r.at, err)
		}
		r.at += int64(len(r.rest))
		r.rest = r.rest[:0]
		if len(r.opts.Containers) == 0 || slices.Contains(r.opts.Containers, driver.MainContainer) {
			return driver.LogEntry{Time: in.Time, Container: driver.MainContainer, Stream: in.Stream, Partial: in.Partial, Line: in.Line}, true, nil
		}
	}
}

// more waits until there may be more to read. It returns io.EOF where there will be none.
func (r *logReader) more() error {
	return r.d.until(r.ctx, r.t, func() (bool, error) {
		unattended := r.t.started() && !r.t.attended() // first this, then whether it has ended, then the size:
		_, ended := r.t.result()                       // whatever was written before these is seen then
		info, err := r.file.Stat()
		if err != nil {
			return false, err
		}
		if info.Size() > r.at+int64(len(r.rest)) {
			return true, nil
		}
		if ended || unattended {
			return false, io.EOF
		}
		return false, nil
	})
}

// Cursor is the place in the file.
func (r *logReader) Cursor() driver.Cursor {
	if r.at == 0 {
		return r.opts.From
	}
	return driver.Cursor(fmt.Sprintf("%s@%d", r.t.ID, r.at))
}

// Close makes Next return.
func (r *logReader) Close() error {
	r.stop(errReaderClosed)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.cancel()
	return r.file.Close()
}
