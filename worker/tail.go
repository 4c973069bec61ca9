package worker

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/mask"
)

// waited is what Wait said of a task.
type waited struct {
	result driver.Result
	err    error
}

// tail follows a task: its log into the journal, and its end.
type tail struct {
	cancel  context.CancelFunc
	ended   atomic.Bool
	lines   atomic.Int64  // that have come
	result  chan waited   // one value
	drained chan struct{} // closed when the log has ended
}

// resumes bounds how often a log that breaks off is resumed where no new line has come.
const resumes = 3

// follow begins to follow a task that was created. When opening ends while the log is being opened, that fails; afterwards it
// has no effect.
func (e *engine) follow(opening context.Context, p *prep) (*tail, error) {
	ctx, cancel := context.WithCancel(context.Background())
	opened := context.AfterFunc(opening, cancel)
	from := driver.Cursor("")
	if p.past != nil {
		from = p.past.cursor
	}
	logs, err := e.d.Logs(ctx, p.task, driver.LogOptions{Follow: true, From: from})
	if !opened() && err == nil {
		err = context.Cause(opening)
		_ = logs.Close()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	t := e.wait(ctx, cancel, p)
	go func() {
		defer close(t.drained)
		e.pump(ctx, p, logs, &t.lines)
	}()
	return t, nil
}

// watch waits for a task whose log cannot be read.
func (e *engine) watch(p *prep) *tail {
	ctx, cancel := context.WithCancel(context.Background())
	t := e.wait(ctx, cancel, p)
	close(t.drained)
	return t
}

// wait begins to wait for the task's end.
func (e *engine) wait(ctx context.Context, cancel context.CancelFunc, p *prep) *tail {
	t := &tail{cancel: cancel, result: make(chan waited, 1), drained: make(chan struct{})}
	go func() {
		r, err := e.d.Wait(ctx, p.task)
		t.ended.Store(err == nil)
		t.result <- waited{r, err}
	}()
	return t
}

// close ends the following, and reports whether the task had ended by itself or by Stop.
func (t *tail) close() bool {
	ended := t.ended.Load()
	t.cancel()
	<-t.drained
	return ended
}

// pump copies a log into the journal, to its end. It never waits for anyone but the disk.
func (e *engine) pump(ctx context.Context, p *prep, logs driver.LogReader, lines *atomic.Int64) {
	w := &logWriter{log: e.j.Log(p.step.ID), lines: lines, secrets: e.mask, running: p.running}
	if p.past != nil {
		w.stored = p.past.logged
		for _, n := range w.stored {
			w.unread += n
		}
	}
	w.log.Attempt(p.attempt)
	for tries := 0; ; tries++ {
		unblock := context.AfterFunc(ctx, func() { _ = logs.Close() })
		n, err := w.copy(logs)
		at := logs.Cursor()
		unblock()
		_ = logs.Close()
		if err == nil || ctx.Err() != nil {
			return
		}
		if n > 0 {
			tries = 0
		}
		if tries < resumes {
			logs, err = e.d.Logs(ctx, p.task, driver.LogOptions{Follow: true, From: at})
		}
		if err != nil {
			if ctx.Err() == nil && e.force.Err() == nil { // who ends a build by force does not wait for logs
				e.warn(p.step.ID, "the log is not complete: %v", err)
			}
			return
		}
	}
}

// logWriter masks lines and writes them.
type logWriter struct {
	log     *journal.Log
	lines   *atomic.Int64
	secrets *mask.Secrets
	running func(time.Time) // says that the main process runs: it has printed something
	stored  map[source]int  // what an earlier process has written already
	unread  int             // the sum of what is left of that
	last    *printer
	all     []*printer
	marked  time.Time
	open    int // streams that are in the middle of a line
}

// printer is one stream of one container, with its own place in a line.
type printer struct {
	container string
	stream    driver.Stream
	name      string // of the container in the journal
	line      *mask.Line
	stored    int // how many of its next entries are in the journal already
	partial   bool
}

// markEvery is how often a place in the runtime's log is noted, at most, and markLines in how many lines, at least.
const (
	markEvery = time.Second
	markLines = 64
)

// copy writes entries until the end of the log (nil) or an error, and returns how many.
func (w *logWriter) copy(logs driver.LogReader) (int, error) {
	for n := 0; ; n++ {
		entry, err := logs.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		s := w.last
		if s == nil || s.stream != entry.Stream || s.container != entry.Container {
			s = w.printer(entry)
		}
		lines := w.lines.Add(1)
		line := s.line.Next(entry.Line, entry.Partial)
		if entry.Partial != s.partial {
			s.partial = entry.Partial
			w.open += map[bool]int{true: 1, false: -1}[entry.Partial]
		}
		if s.stored > 0 {
			s.stored--
			w.unread--
			continue
		}
		w.log.Write(entry.Time, s.name, s.stream.String(), line, entry.Partial)
		// How far the runtime's log has been read is noted now and then, so that who goes on need not read all of it again.
		if lines%markLines == 0 && w.open == 0 && w.unread == 0 && time.Since(w.marked) >= markEvery {
			w.marked = time.Now()
			w.log.Mark(string(logs.Cursor()))
		}
	}
}

func (w *logWriter) printer(entry driver.LogEntry) *printer {
	for _, s := range w.all {
		if s.stream == entry.Stream && s.container == entry.Container {
			w.last = s
			return s
		}
	}
	s := &printer{container: entry.Container, stream: entry.Stream, line: mask.NewLine(w.secrets)}
	if entry.Container == driver.MainContainer {
		w.running(time.Time{})
	} else {
		s.name = entry.Container
	}
	s.stored = w.stored[source{s.name, s.stream.String()}]
	w.all = append(w.all, s)
	w.last = s
	return s
}
