package docker

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/frames"
	"github.com/wharfci/wharf/driver/internal/logqueue"
)

// source reads the output of one container. Its goroutine moves bytes to the reader's queue; where they are
// taken apart, the parser counts, so that the source can go on from the daemon's log when the live
// stream is lost.
type source struct {
	r          *logReader
	name, id   string
	follow     bool
	unfinished bool // the container ran when a log was read that is not followed
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

// open attaches to a container that has not been started, so that its first byte will be seen. Of one that
// this driver has just made it is likely; so it attaches first and looks then.
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

// attach opens the live stream, and keeps it if the container was not started before that.
func (s *source) attach(ctx context.Context) (bool, error) {
	d := s.r.d
	res, err := d.api.ContainerAttach(ctx, s.id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return false, err
	}
	live := struct {
		io.Reader
		io.Closer
	}{res.Reader, res.Conn}
	c, err := d.inspect(ctx, s.id)
	if err != nil || phaseOf(c) != phaseCreated {
		_ = live.Close()
		return false, err
	}
	return s.keep(live), nil
}

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
		var c *container.InspectResponse
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
	if errors.Is(err, io.EOF) {
		// What has printed has run; the daemon would call a container that has not ended, too.
		return s.exitSoon(ctx) && s.p.Began(), nil
	}
	return false, nil
}

// exitSoon waits a moment for the exit that the end of a live stream announces, and reports whether it came; without
// it, a container that is about to end would be taken for one whose connection was cut.
func (s *source) exitSoon(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var e exit
	err := s.r.d.awaitExit(ctx, s.id, &e)
	return err == nil && e.seen
}

// running reads the log of a container that runs: on and on, or what there is now.
func (s *source) running(ctx context.Context) (bool, error) {
	err := s.fromLog(ctx, s.follow)
	if err == nil && !s.follow {
		return true, nil
	}
	if err == nil { // the daemon ended the log although it may go on
		s.exitSoon(ctx)
	}
	if err != nil && unreachable(err) {
		err = nil
	}
	return false, err
}

// rest delivers what is missing of the log of a container that has ended.
func (s *source) rest(ctx context.Context) error {
	if s.follow && s.p.Began() || s.p.Moved() {
		if ok, err := s.proven(ctx); ok || err != nil && !unreachable(err) {
			return err
		}
	}
	return s.r.d.patiently(ctx, func() error { return s.fromLog(ctx, false) })
}

// proven reports whether the stored log says that everything was delivered.
func (s *source) proven(ctx context.Context) (bool, error) {
	return frames.Proven(&s.p, true, func(tail string) (io.ReadCloser, error) {
		return s.r.d.api.ContainerLogs(ctx, s.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: tail})
	})
}

// fromLog reads the daemon's log, leaving out what was delivered.
func (s *source) fromLog(ctx context.Context, follow bool) error {
	s.p.Restart(true, true)
	body, err := s.r.d.api.ContainerLogs(ctx, s.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow})
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
// properly. It waits for a slow consumer if it may: the daemon stops a container whose live stream is not read.
func (s *source) pump(ctx context.Context, wait bool) error {
	stream := s.current()
	if stream == nil {
		return context.Canceled
	}
	if s.follow {
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
