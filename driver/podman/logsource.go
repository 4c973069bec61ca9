package podman

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/frames"
	"github.com/wharfci/wharf/driver/internal/logqueue"
)

// source reads the output of one container. Its goroutine moves bytes to the reader's queue; where they are
// taken apart, the parser counts, so that the source can go on from the service's log when the live
// stream is lost.
type source struct {
	r          *logReader
	name, id   string
	follow     bool
	unfinished bool // the container ran when a log was read that is not followed
	unready    bool // the service cannot prepare the container to be listened to
	p          frames.Parser
	turn       chan struct{}

	mu     sync.Mutex
	stream io.ReadCloser // open, or nil
	closed bool

	moves   atomic.Int64 // reads that brought something
	waiting atomic.Bool  // for room in the queue
}

var (
	errTurn     = errors.New("the source asks for the parser")
	errOverflow = errors.New("the consumer is too slow for the live stream")
)

func newSource(r *logReader, name, id string, follow bool, from frames.Positions) *source {
	s := &source{r: r, name: name, id: id, follow: follow, turn: make(chan struct{}, 1)}
	s.p.Begin(from)
	return s
}

// open attaches to a container that has not been started, so that its first byte will be seen.
func (s *source) open(ctx context.Context) error {
	d := s.r.d
	if !s.follow || !d.fresh.Has(s.id) {
		c, err := d.inspect(ctx, s.id)
		if err != nil {
			return err
		}
		s.unfinished = !s.follow && phaseOf(c) == phaseRunning
		if !s.follow || phaseOf(c) != phaseCreated {
			return nil
		}
	}
	_, err := s.attach(ctx)
	return err
}

// attach opens the live stream of a container that was not started, and keeps it if it still is not. Podman prepares
// the container for that: it would do the same to one that has ended, and forget its exit code. So it is not asked
// unless the container was seen not to have been started, with no start of this process between.
func (s *source) attach(ctx context.Context) (bool, error) {
	d := s.r.d
	unlock, err := d.starts.Lock(ctx, attachKey(s.id))
	if err != nil {
		return false, err
	}
	defer unlock()
	if !d.fresh.Has(s.id) {
		c, err := d.look(ctx, s.id)
		if err != nil || phaseOf(c) != phaseCreated {
			return false, err
		}
	}
	if s.r.handle.group != "" {
		if held, err := s.hold(ctx); !held || err != nil {
			return false, err
		}
	}
	live, err := d.api.hijack(ctx, "/containers/"+s.id+"/attach", attachQuery, nil)
	if err != nil {
		if answered(err) && !errdefs.IsNotFound(err) {
			s.unready = true // as when its command does not exist: the start will say so
			return false, nil
		}
		return false, err
	}
	c, err := d.look(ctx, s.id)
	if err != nil || phaseOf(c) != phaseCreated {
		_ = live.Close()
		return false, err
	}
	return s.keep(live), nil
}

// hold has the network there that a container joins, if the container can still be prepared.
func (s *source) hold(ctx context.Context) (bool, error) {
	d := s.r.d
	if mark, err := d.currentMark(ctx, s.r.handle); mark != 0 || err != nil {
		return false, err // it will not be started
	}
	c, err := d.look(ctx, s.id)
	if err != nil || phaseOf(c) != phaseCreated {
		return false, err
	}
	if holder := holderOf(c); holder != "" && !s.r.handle.joined {
		err = d.startHolder(ctx, holder)
		if err != nil && answered(err) && !errdefs.IsNotFound(err) {
			s.unready = true // the start will say so
			return false, nil
		}
	}
	return err == nil, err
}

// attachQuery asks for what a container prints from now on.
var attachQuery = url.Values{"stream": {"true"}, "stdout": {"true"}, "stderr": {"true"}}

// attachKey is the lock that keeps this process from attaching to and starting a container at once.
func attachKey(id string) string { return "attach " + id }

// keep makes a stream the open one.
func (s *source) keep(stream io.ReadCloser) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = stream.Close()
		return false
	}
	s.stream = stream
	return true
}

// current returns the open stream, or nil.
func (s *source) current() io.ReadCloser {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream
}

// hangUp closes the open stream.
func (s *source) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		_ = s.stream.Close()
		s.stream = nil
	}
}

// drop closes the source for good.
func (s *source) drop() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.hangUp()
}

// run reads to the end of the log and tells the consumer how that was.
func (s *source) run(ctx context.Context) {
	defer context.AfterFunc(ctx, s.drop)()
	defer s.drop()
	err := s.read(ctx)
	s.r.q.Push(logqueue.Item[*source]{Source: s, Err: err}, true)
}

// read returns nil when everything was delivered.
func (s *source) read(ctx context.Context) error {
	if s.current() != nil {
		ended, err := s.live(ctx)
		if err != nil {
			return err
		}
		if ended {
			return s.rest(ctx)
		}
	}
	for {
		var c *inspected
		err := s.r.d.patiently(ctx, func() (err error) {
			c, err = s.r.d.inspect(ctx, s.id)
			return err
		})
		if err != nil {
			return err
		}
		var end bool
		switch phaseOf(c) {
		case phaseFailed, phaseMarked:
			return nil
		case phaseCreated:
			end, err = s.beforeStart(ctx)
		case phaseRunning:
			end, err = s.running(ctx)
		case phaseGoing:
			return driver.WithClass(errdefs.ErrNotFound, "the container is being removed; its log may not have been read to the end")
		default:
			return s.rest(ctx)
		}
		if end || err != nil {
			return err
		}
	}
}

// beforeStart follows a container that was not started, and returns true if it never will be.
func (s *source) beforeStart(ctx context.Context) (bool, error) {
	if !s.follow || s.r.isOver() {
		return true, nil
	}
	if s.unready {
		return false, s.r.d.hub.await(ctx, s.id, func() bool {
			c, err := s.r.d.inspect(ctx, s.id)
			return err != nil || phaseOf(c) != phaseCreated || s.r.isOver()
		})
	}
	ok, err := s.attach(ctx)
	if !ok || err != nil {
		if err != nil && unreachable(err) {
			err = nil // looking again is patient
		}
		return false, err
	}
	s.p.Restart(false, false)
	_, err = s.live(ctx)
	return false, err
}

// live reads the live stream until it ends, and reports whether it is certain that the container has ended.
func (s *source) live(ctx context.Context) (ended bool, err error) {
	err = s.pump(ctx, false)
	if turnErr := s.takeParser(ctx); turnErr != nil {
		return false, turnErr
	}
	if errors.Is(err, io.EOF) || errors.As(err, new(*cutError)) {
		// What has printed has run; the service would call a container that has not ended, too.
		return s.exitSoon(ctx) && s.p.Began(), nil
	}
	return false, nil
}

// exitSoon waits a moment for the exit that the end of a live stream announces, and reports whether it came; without
// it, a container that is about to end would be taken for one whose connection was cut.
func (s *source) exitSoon(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := s.r.d.look(ctx, s.id)
	if err == nil && phaseOf(c) == phaseRunning {
		if err = s.r.d.awaitExit(ctx, s.id); err == nil {
			c, err = s.r.d.look(ctx, s.id)
		}
	}
	s.r.d.hub.poke(s.id, false)
	return err == nil && phaseOf(c) == phaseExited
}

// running reads the log of a container that runs: what there is now, and, if it is followed, again whenever
// something was added. Podman's own following loses lines at the end of a container that prints fast, so it only
// says that there is something.
func (s *source) running(ctx context.Context) (bool, error) {
	if !s.follow {
		return true, s.fromLog(ctx)
	}
	news := s.listen(ctx)
	defer news.stop()
	lost, leave := s.r.d.guards.watch(s.id)
	defer leave()
	for {
		began := time.Now()
		if err := s.fromLog(ctx); err != nil {
			if unreachable(err) && ctx.Err() == nil {
				err = nil
			}
			return false, err
		}
		// Reading again costs as much as there is: a long log is read less often.
		if err := pause(ctx, max(50*time.Millisecond, 4*time.Since(began))); err != nil {
			return false, err
		}
		select {
		case _, more := <-news.ch:
			if !more {
				s.exitSoon(ctx)
				return false, nil
			}
		case <-lost:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// pause lets time go by, or returns why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// news tells that a container's log has grown; ch is closed when that has ended.
type news struct {
	ch   chan struct{}
	stop func()
}

// listen follows the log from its beginning, so that nothing is added between. The service answers with the first line
// only, so nobody waits for the answer.
func (s *source) listen(ctx context.Context) *news {
	ctx, cancel := context.WithCancel(ctx)
	n := &news{ch: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(n.ch)
		q := url.Values{"stdout": {"true"}, "stderr": {"true"}, "follow": {"true"}}
		body, err := s.r.d.api.open(ctx, "GET", "/containers/"+s.id+"/logs", q, nil)
		if err != nil {
			return
		}
		defer body.Close()
		for buf := make([]byte, 32<<10); err == nil; {
			if _, err = body.Read(buf); err == nil {
				select {
				case n.ch <- struct{}{}:
				default: // it will look anyway
				}
			}
		}
	}()
	n.stop = func() { cancel(); <-done }
	return n
}

// rest delivers what is missing of the log of a container that has ended.
func (s *source) rest(ctx context.Context) error {
	if s.follow && s.p.Began() || s.p.Moved() {
		if ok, err := s.proven(ctx); ok || err != nil && !unreachable(err) {
			return brokenLog(err)
		}
	}
	return s.r.d.patiently(ctx, func() error {
		if err := s.fromLog(ctx); err != nil {
			return err
		}
		return s.unbroken(ctx)
	})
}

// unbroken returns an error if the stored log ends in the middle of an entry, or may lack something for want of room. Podman reads on over a torn
// entry without a word, but not when it is asked for the last line; and conmon drops what finds no room.
func (s *source) unbroken(ctx context.Context) error {
	q := url.Values{"stdout": {"true"}, "stderr": {"true"}, "tail": {"1"}}
	if err := s.r.d.api.call(ctx, "GET", "/containers/"+s.id+"/logs", q, nil, nil); err != nil {
		return brokenLog(err)
	}
	now, err := s.r.d.ask(ctx)
	if err != nil {
		return err
	}
	if free := now.Store.GraphRootAllocated - now.Store.GraphRootUsed; now.Store.GraphRootAllocated > 0 && free < littleRoom {
		return driver.WithClass(errdefs.ErrResourceExhausted, "the log may break off: the service's disk has %d bytes left, and output that finds no room there is dropped; make room there", free)
	}
	return nil
}

// littleRoom is how much a disk may have left that was full when a container wrote to it: Podman itself gives some back.
const littleRoom = 1 << 20

// brokenLog says what it means if the service cannot read a log.
func brokenLog(err error) error {
	if err != nil && answered(err) && strings.Contains(err.Error(), "not a valid container log line") {
		return driver.WithClass(errdefs.ErrResourceExhausted, "the log breaks off: there was probably no space left on the service's disk; make room there: %v", err)
	}
	return err
}

// proven reports whether the stored log says that everything was delivered.
func (s *source) proven(ctx context.Context) (bool, error) {
	return frames.Proven(&s.p, false, func(tail string) (io.ReadCloser, error) {
		q := url.Values{"stdout": {"true"}, "stderr": {"true"}, "tail": {tail}}
		return s.r.d.api.open(ctx, "GET", "/containers/"+s.id+"/logs", q, nil)
	})
}

// fromLog reads the stored log, leaving out what was delivered.
func (s *source) fromLog(ctx context.Context) error {
	s.p.Restart(false, true)
	q := url.Values{"stdout": {"true"}, "stderr": {"true"}, "timestamps": {"true"}}
	body, err := s.r.d.api.open(ctx, "GET", "/containers/"+s.id+"/logs", q, nil)
	if err != nil {
		return err
	}
	if !s.keep(body) {
		return context.Canceled
	}
	err = s.pump(ctx, true)
	if turnErr := s.takeParser(ctx); turnErr != nil {
		return turnErr
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// takeParser waits until the consumer has taken apart everything that was read, and will not touch the
// parser before the next piece comes.
func (s *source) takeParser(ctx context.Context) error {
	s.hangUp()
	if !s.r.q.Push(logqueue.Item[*source]{Source: s, Err: errTurn}, true) {
		return errors.Join(context.Cause(ctx), context.Canceled)
	}
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A stream whose pieces are smaller than gatherBelow and come within gatherTime of each other is read less often: a
// flood of lines, each its own piece, would else cost a wake-up of two goroutines a line.
const gatherBelow, gatherTime = 32 << 10, 2 * time.Millisecond

// pump moves bytes from the open stream to the queue until the stream ends, with io.EOF if it ended
// properly. It waits for a slow consumer if it may: the service stops a container whose live stream is not read.
func (s *source) pump(ctx context.Context, wait bool) error {
	stream := s.current()
	if stream == nil {
		return context.Canceled
	}
	if !wait {
		stop := s.guard(ctx)
		defer stop()
	}
	buf := make([]byte, 4<<10) // many tasks say little
	var last time.Time
	gather := time.NewTimer(0)
	defer gather.Stop()
	for {
		n, err := stream.Read(buf)
		if n > 0 {
			now := time.Now()
			s.moves.Add(1)
			s.waiting.Store(true)
			ok := s.r.q.Push(logqueue.Item[*source]{Source: s, Data: buf[:n:n], At: now}, wait)
			s.waiting.Store(false)
			if !ok {
				return errOverflow
			}
			if n < gatherBelow && now.Sub(last) < gatherTime {
				gather.Reset(gatherTime)
				select {
				case now = <-gather.C:
				case <-ctx.Done():
				}
			}
			last = now
			if buf = buf[n:]; len(buf) < n {
				buf = make([]byte, 64<<10)
			}
		}
		if err != nil {
			return err
		}
	}
}

// idleTime is how long a stream may be silent after its container has ended.
const idleTime = 2 * time.Second

// guard hangs up a stream that does not end although its container has, or will never run. It asks the
// daemon only when an event says that the container may have.
func (s *source) guard(ctx context.Context) (stop func()) {
	w, leave := s.r.d.hub.watch(s.id, false)
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.ch:
			}
			if s.finished(ctx, w.died.Load()) {
				s.hangUp()
				return
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		leave()
	}
}

// finished reports whether nothing can come any more, after giving what is on its way time to come.
func (s *source) finished(ctx context.Context, died bool) bool {
	if died && !s.idle(ctx) {
		return false
	}
	c, err := s.r.d.inspect(ctx, s.id)
	if err != nil {
		return errdefs.IsNotFound(err)
	}
	switch phaseOf(c) {
	case phaseRunning:
		return false
	case phaseCreated:
		return s.r.isOver()
	case phaseExited:
		return died || s.idle(ctx)
	}
	return true
}

// idle returns true when nothing has moved for idleTime, and false when ctx has ended.
func (s *source) idle(ctx context.Context) bool {
	t := time.NewTicker(idleTime)
	defer t.Stop()
	for last := s.moves.Load(); ; {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
		now := s.moves.Load()
		if now == last && !s.waiting.Load() {
			return true
		}
		last = now
	}
}
