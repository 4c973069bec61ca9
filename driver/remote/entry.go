package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// An entry of a log, with the cursor behind it, is written by hand, since there are millions: flags, the stream, the time in nanoseconds since 1970, and the container,
// cursor and line, each with its length before it.
const (
	flagPartial = 1 << iota
	flagTime    // it has one
)

func appendEntry(b []byte, e *driver.LogEntry, cursor driver.Cursor) []byte {
	flags, at := byte(0), int64(0)
	if e.Partial {
		flags |= flagPartial
	}
	if !e.Time.IsZero() {
		flags |= flagTime
		at = e.Time.UnixNano()
	}
	b = append(b, flags, byte(e.Stream))
	b = binary.AppendVarint(b, at)
	for _, s := range []string{e.Container, string(cursor)} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return append(binary.AppendUvarint(b, uint64(len(e.Line))), e.Line...)
}

var errEntry = errors.New("an entry of the log that cannot be read")

// nextEntry takes the first of several entries, and returns the others.
func nextEntry(b []byte) (e driver.LogEntry, cursor driver.Cursor, rest []byte, err error) {
	if len(b) < 2 {
		return e, "", nil, errEntry
	}
	flags := b[0]
	e.Partial, e.Stream = flags&flagPartial != 0, driver.Stream(b[1])
	at, n := binary.Varint(b[2:])
	if n <= 0 {
		return e, "", nil, errEntry
	}
	if flags&flagTime != 0 {
		e.Time = time.Unix(0, at).UTC()
	}
	b = b[2+n:]
	var fields [3][]byte
	for i := range fields {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return e, "", nil, errEntry
		}
		fields[i], b = b[n:n+int(size)], b[n+int(size):]
	}
	e.Container, e.Line = string(fields[0]), fields[2]
	return e, driver.Cursor(fields[1]), b, nil
}

// mostAhead is how many bytes of entries wait to be sent before the log is not read on.
const mostAhead = 1 << 20

// batch gathers entries while those before are being sent.
type batch struct {
	mu      sync.Mutex
	changed sync.Cond
	entries []byte
	err     error // the end
}

// serveLogs answers, and sends the entries, as many at once as there are.
func serveLogs(ctx context.Context, c *call) (any, error) {
	a, err := take[onTask[driver.LogOptions]](c)
	if err != nil {
		return nil, err
	}
	r, err := c.d.Logs(ctx, a.ID, a.Opts)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := c.answer(none{}, nil); err != nil {
		return nil, err
	}
	b := &batch{}
	b.changed.L = &b.mu
	read := make(chan struct{})
	go func() { defer close(read); b.fill(r) }()
	defer func() { b.stop(); r.Close(); <-read }()
	for {
		entries, err := b.take()
		if len(entries) > 0 {
			if err := c.send(kindItem, entries); err != nil {
				return nil, err
			}
			continue
		}
		if err == io.EOF {
			err = nil
		}
		return none{}, err
	}
}

// fill takes what the reader has, to its end.
func (b *batch) fill(r driver.LogReader) {
	for {
		e, err := r.Next()
		b.mu.Lock()
		for len(b.entries) >= mostAhead && b.err == nil {
			b.changed.Wait()
		}
		if b.err == nil {
			if b.err = err; err == nil {
				b.entries = appendEntry(b.entries, &e, r.Cursor())
			}
		}
		ended := b.err != nil
		b.changed.Broadcast()
		b.mu.Unlock()
		if ended {
			return
		}
	}
}

// take returns what is there, or the end when there is nothing more.
func (b *batch) take() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.entries) == 0 && b.err == nil {
		b.changed.Wait()
	}
	entries := b.entries
	b.entries = nil
	b.changed.Broadcast()
	return entries, b.err
}

// stop has fill return.
func (b *batch) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = context.Canceled
	}
	b.changed.Broadcast()
}
