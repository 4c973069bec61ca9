//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// spool is the log of the task: records in the order in which they came, in a file.
type spool struct {
	f *os.File

	mu      sync.Mutex
	size    int64
	last    time.Time
	broken  error         // why something is missing
	changed chan struct{} // closed when there is more, or nothing more will come
	over    bool
}

func newSpool(file string) (*spool, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &spool{f: f, changed: make(chan struct{})}, nil
}

// now is the time of the next records; it does not run backwards. The caller holds mu.
func (s *spool) now() time.Time {
	if t := time.Now(); t.After(s.last) {
		s.last = t
	}
	return s.last
}

// write appends what f makes of the present time.
func (s *spool) write(f func(now time.Time) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := f(s.now())
	if len(b) == 0 || s.broken != nil {
		return
	}
	n, err := s.f.WriteAt(b, s.size)
	if err != nil {
		s.broken = fmt.Errorf("output was lost: %w (%d bytes of %d)", err, n, len(b))
	} else {
		s.size += int64(n)
	}
	s.wake()
}

func (s *spool) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// end says that nothing more will come.
func (s *spool) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.wake()
}

// standing is how much there is, whether that is all, what is closed when that changes, and why something is missing.
func (s *spool) standing() (size int64, over bool, changed <-chan struct{}, broken error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, s.over, s.changed, s.broken
}

// collector takes one stream of a container apart into lines.
type collector struct {
	spool  *spool
	box    int
	stderr bool
	rest   []byte // of a line that is not complete
	out    []byte
	done   chan struct{}
	fd     int
	f      *os.File
}

// collect reads a pipe until its end, or until it is told to finish.
func collect(s *spool, box int, stderr bool, fd int) (*collector, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	c := &collector{spool: s, box: box, stderr: stderr, fd: fd, f: os.NewFile(uintptr(fd), "output"), done: make(chan struct{})}
	go c.run()
	return c, nil
}

// stop lets the collector end: at once with what is in the pipe now, or when that was closed, but not later than after the patience.
func (c *collector) stop(patience time.Duration) {
	_ = c.f.SetReadDeadline(time.Now().Add(patience))
	<-c.done
}

func (c *collector) run() {
	defer close(c.done)
	defer c.f.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.f.Read(buf)
		c.take(buf[:n], false)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.drain(buf)
		}
		if err != nil {
			c.take(nil, true)
			return
		}
	}
}

// drain takes what is in the pipe, without waiting.
func (c *collector) drain(buf []byte) {
	for {
		n, err := unix.Read(c.fd, buf)
		if n > 0 {
			c.take(buf[:n], false)
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
	}
}

func (c *collector) take(b []byte, end bool) {
	if len(b) == 0 && (!end || len(c.rest) == 0) {
		return
	}
	c.spool.write(func(now time.Time) []byte {
		c.out = c.out[:0]
		c.rest = append(c.rest, b...)
		line := c.rest
		record := func(n, skip int, partial bool) {
			r := wire.Record{Time: now, Box: c.box, Stderr: c.stderr, Partial: partial, Line: line[:n]}
			c.out = r.Append(c.out)
			line = line[n+skip:]
		}
		for {
			i := bytes.IndexByte(line[:min(len(line), wire.MaxLine+1)], '\n')
			if i >= 0 {
				record(i, 1, false)
			} else if len(line) > wire.MaxLine {
				record(wire.MaxLine, 0, true)
			} else {
				break
			}
		}
		if end && len(line) > 0 {
			record(len(line), 0, false)
		}
		c.rest = append(c.rest[:0], line...)
		return c.out
	})
}

// batch reads whole records from an offset, at most up to limit.
func (s *spool) batch(buf []byte, from, limit int64) ([]byte, error) {
	n, err := s.f.ReadAt(buf[:min(int64(len(buf)), limit-from)], from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	whole := 0
	for {
		_, size, err := wire.ParseRecord(buf[whole:n])
		if err != nil {
			return nil, err
		}
		if size == 0 {
			return buf[:whole], nil
		}
		whole += size
	}
}
