//go:build linux

package containerd

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// logFile is the file that the shim appends a container's stream to.
func (d *Driver) logFile(h handle, name string, s driver.Stream) string {
	return filepath.Join(d.taskDir(h), name+"."+s.String())
}

// Logs reads what the containers of a task print. See [driver.Driver].
func (d *Driver) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	ctx, done := d.begin(ctx)
	r, err := d.logs(ctx, id, opts)
	if err != nil {
		err = driver.Wrap(ctx, "logs", string(id), classify(err))
		done()
		return nil, err
	}
	r.done = done
	return r, nil
}

func (d *Driver) logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (*reader, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return nil, err
	}
	main, err := d.container(ctx, h, h.container)
	if err == nil && main.Labels[labelGoing] != "" {
		err = driver.WithClass(errdefs.ErrNotFound, "the task is being removed")
	}
	if err != nil {
		return nil, err
	}
	all := []containers.Container{main}
	if main.Labels[labelMembers] != "" {
		g, err := d.group(ctx, h)
		if err != nil {
			return nil, err
		}
		all = append(all, g.all()...)
		d.supervise(h)
	}
	r := &reader{d: d, h: h, id: string(id), ctx: ctx, ended: make(chan struct{}), closed: make(chan struct{})}
	if err := r.open(all, opts); err != nil {
		r.closeFiles()
		return nil, err
	}
	if r.watch, err = d.files.watch(d.taskDir(h)); err == nil && opts.Follow {
		err = d.files.mark(d.taskDir(h))
	}
	if err != nil {
		r.closeFiles()
		return nil, err
	}
	r.waiter.Add(1)
	go func() {
		defer r.waiter.Done()
		r.awaitEnd(all, opts.Follow)
	}()
	return r, nil
}

// reader is a [driver.LogReader] over the files of a task's streams.
type reader struct {
	d       *Driver
	h       handle
	id      string
	ctx     context.Context
	done    func()
	streams []*stream // two for each container, in the order of awaitEnd
	next    int       // the stream to look at first
	watch   *dirWatch

	ended   chan struct{} // closed when no more is written
	endErr  error         // set before: why that is not known
	partial bool          // set before: the containers go on, and only what there was is to be read
	final   bool          // the sizes at the end have been seen

	waiter sync.WaitGroup
	once   sync.Once
	closed chan struct{}
}

func (r *reader) open(all []containers.Container, opts driver.LogOptions) error {
	for _, c := range all {
		name := nameOf(c)
		for _, which := range []driver.Stream{driver.Stdout, driver.Stderr} {
			s := &stream{container: name, which: which, file: r.d.logFile(r.h, name, which), until: -1}
			s.marks.file = marksFile(s.file)
			s.wanted = len(opts.Containers) == 0 || slices.Contains(opts.Containers, name)
			r.streams = append(r.streams, s)
		}
	}
	return r.seek(opts.From)
}

// awaitEnd waits until the containers have ended and the shims have written all that was printed. Without follow, it only
// makes sure that what a container has printed that has ended is all there.
func (r *reader) awaitEnd(all []containers.Container, follow bool) {
	defer close(r.ended)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	go func() {
		select {
		case <-r.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	mainEnded := false
	for i, c := range all {
		// A member that was not started when the main container has ended never will be.
		good := func(p phase) bool { return !follow || p > phaseRunning || i > 0 && mainEnded && p == phaseCreated }
		s, err := r.d.until(ctx, r.h, c.ID, true, good)
		switch {
		case err == nil && s.phase == phaseGoing, notFound(err):
			r.endErr = driver.WithClass(errdefs.ErrNotFound, "the task was removed while its log was read")
			return
		case err != nil:
			r.endErr = err
			return
		}
		mainEnded = mainEnded || i == 0 && s.phase > phaseRunning
		if s.phase <= phaseRunning {
			r.partial = true
			continue
		}
		for _, st := range r.streams[2*i : 2*i+2] {
			if err := r.watch.awaitWriters(ctx, st.file); err != nil {
				r.endErr = err
				return
			}
		}
	}
}

// Next returns the next entry. See [driver.LogReader].
func (r *reader) Next() (driver.LogEntry, error) {
	for {
		over := false
		select {
		case <-r.closed:
			return driver.LogEntry{}, r.wrap(errClosedReader)
		case <-r.ctx.Done():
			return driver.LogEntry{}, r.wrap(context.Cause(r.ctx))
		case <-r.ended:
			over = true
		default:
		}
		entry, ok, err := r.look(over)
		switch {
		case err != nil:
			return driver.LogEntry{}, r.wrap(err)
		case ok:
			return entry, nil
		case over && r.endErr != nil:
			return driver.LogEntry{}, r.wrap(r.endErr)
		}
		if err := r.broken(); err != nil {
			return driver.LogEntry{}, r.wrap(err)
		}
		if over {
			return driver.LogEntry{}, io.EOF
		}
		select {
		case <-r.watch.changed:
		case <-r.ended:
		case <-r.closed:
		case <-r.ctx.Done():
		}
	}
}

// broken returns an error if a stream that is wanted breaks off. It is asked when there is nothing more to read.
func (r *reader) broken() error {
	for _, s := range r.streams {
		if s.wanted {
			if err := brokenOff(s.file); err != nil {
				return err
			}
		}
	}
	return nil
}

var errClosedReader = driver.WithClass(errdefs.ErrFailedPrecondition, "the reader was closed")

// look takes an entry from the stream that gave the last one, or from the others in turn. When all is over, what there
// is at that moment is all there will be.
func (r *reader) look(over bool) (driver.LogEntry, bool, error) {
	if over && !r.final {
		r.final = true
		for _, s := range r.streams {
			if err := s.fix(); err != nil {
				return driver.LogEntry{}, false, err
			}
		}
	}
	for range r.streams {
		s := r.streams[r.next]
		if s.wanted {
			entry, ok, err := s.take(over && r.endErr == nil, over && r.partial)
			if ok || err != nil {
				return entry, ok, err
			}
		}
		r.next = (r.next + 1) % len(r.streams)
	}
	return driver.LogEntry{}, false, nil
}

func (r *reader) wrap(err error) error { return driver.Wrap(r.ctx, "logs", r.id, classify(err)) }

// Close frees the reader. See [driver.LogReader].
func (r *reader) Close() error {
	r.once.Do(func() {
		close(r.closed)
		r.waiter.Wait()
		r.watch.close()
		r.closeFiles()
		r.done()
	})
	return nil
}

func (r *reader) closeFiles() {
	for _, s := range r.streams {
		s.mu.Lock()
		if s.f != nil {
			s.f.Close()
		}
		s.marks.close()
		s.f, s.shut = nil, true
		s.mu.Unlock()
	}
}

// stream reads the lines of one file.
type stream struct {
	container string
	which     driver.Stream
	file      string
	wanted    bool

	mu    sync.Mutex // for f and shut: Close may come in the middle
	f     *os.File
	shut  bool
	buf   []byte
	start int   // where in buf the next line begins
	read  int64 // the offset in the file behind buf
	until int64 // where to end, or -1
	scan  int   // how much of the line was searched for its end
	marks marks
	bound time.Time // when the file was last changed before the last look at it
	last  time.Time // of the last entry
}

const chunk = 256 << 10

// offset is the place in the file behind the last entry.
func (s *stream) offset() int64 { return s.read - int64(len(s.buf)-s.start) }

// fix ends the stream at its present size.
func (s *stream) fix() error {
	info, err := os.Stat(s.file)
	if errors.Is(err, os.ErrNotExist) {
		s.until = s.read
		return nil
	}
	if err == nil {
		s.until = max(info.Size(), s.read)
	}
	return err
}

// take returns the next line, or a part of one that is too long. At the end, what no newline ends is a line too; if the
// container goes on, it is a part of one.
func (s *stream) take(end, goesOn bool) (driver.LogEntry, bool, error) {
	for {
		if e, ok := s.line(); ok {
			return e, true, nil
		}
		n, err := s.fill()
		if err != nil {
			return driver.LogEntry{}, false, err
		}
		if n == 0 {
			break
		}
	}
	if end && len(s.buf) > s.start {
		return s.entry(len(s.buf)-s.start, 0, goesOn), true, nil
	}
	return driver.LogEntry{}, false, nil
}

func (s *stream) line() (driver.LogEntry, bool) {
	rest := s.buf[s.start:]
	for i := s.scan; i < len(rest) && i <= driver.MaxLogLine; i++ {
		if rest[i] == '\n' {
			return s.entry(i, 1, false), true
		}
		s.scan = i + 1
	}
	if len(rest) > driver.MaxLogLine {
		return s.entry(driver.MaxLogLine, 0, true), true
	}
	return driver.LogEntry{}, false
}

func (s *stream) entry(length, newline int, partial bool) driver.LogEntry {
	line := s.buf[s.start : s.start+length : s.start+length]
	s.start += length + newline
	s.scan = 0
	s.stamp()
	return driver.LogEntry{Time: s.last, Container: s.container, Stream: s.which, Partial: partial, Line: line}
}

// fill reads more of the file. The lines that were returned are not valid any more.
func (s *stream) fill() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return 0, nil
	}
	if s.f == nil {
		f, err := os.Open(s.file)
		if errors.Is(err, os.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		s.f = f
	}
	if cap(s.buf) == 0 {
		s.buf = make([]byte, 0, chunk)
	}
	kept := copy(s.buf[:cap(s.buf)], s.buf[s.start:])
	s.buf, s.start = s.buf[:kept], 0
	room := s.buf[kept:cap(s.buf)]
	if s.until >= 0 {
		room = room[:min(int64(len(room)), s.until-s.read)]
	}
	if len(room) == 0 {
		return 0, nil
	}
	n, err := s.f.ReadAt(room, s.read)
	s.read += int64(n)
	s.buf = s.buf[:kept+n]
	if n > 0 {
		s.marks.dry = false
		if info, err := s.f.Stat(); err == nil {
			s.bound = info.ModTime().UTC()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// stamp finds the time of the entry that ends at the offset: when the file had grown so far, or was last changed, if nobody
// was there to note it.
func (s *stream) stamp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.marks.at(s.offset())
	if !ok || s.bound.Before(t) {
		t = s.bound
	}
	if t.After(s.last) {
		s.last = t
	}
}
