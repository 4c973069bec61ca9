package sinktest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/sinktest"
)

// store keeps builds in memory, and has at most one bug.
type store struct {
	bug          string
	makes, keeps bool

	mu      sync.Mutex
	builds  map[uint64]*sinktest.Build
	last    uint64        // the build that was opened last
	stalled chan struct{} // nil unless it is
}

func newStore(bug string) *store { return &store{bug: bug, builds: map[uint64]*sinktest.Build{}} }

func (s *store) config() sinktest.Config {
	return sinktest.Config{
		Open: func() (sink.Sink, error) { return (*memory)(s), nil },
		Add: func(id uint64) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.add(id)
		},
		Read: func(id uint64) (sinktest.Build, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			b := *cmp.Or(s.builds[id], new(sinktest.Build))
			b.History, b.Lines, b.Files = slices.Clone(b.History), slices.Clone(b.Lines), slices.Clone(b.Files)
			return b, nil
		},
		Stall: func() func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			gate := make(chan struct{})
			s.stalled = gate
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.stalled = nil
				close(gate)
			}
		},
		MakesBuilds: s.makes, KeepsFinal: s.keeps,
	}
}

func (s *store) add(id uint64) {
	s.builds[id] = &sinktest.Build{Status: sink.Scheduling, History: []sink.Status{sink.Scheduling}}
}

// memory is a sink of a store.
type memory store

func (m *memory) Open(id uint64, turn sink.Turn) sink.Report {
	r := &report{store: (*store)(m), id: id, turn: turn}
	m.mu.Lock()
	m.last = id
	m.mu.Unlock()
	if m.bug == "asks" {
		turn.Fence()
	}
	return r
}

func (m *memory) Active(ctx context.Context) (all []sink.Build, err error) {
	return all, (*store)(m).enter(ctx, func() error {
		for id, b := range m.builds {
			if !b.Status.Final() || m.bug == "lists ended ones" {
				all = append(all, sink.Build{ID: id, Status: b.Status})
			}
		}
		return nil
	})
}

func (m *memory) Ready(ctx context.Context) error {
	return (*store)(m).enter(ctx, func() error {
		if m.bug == "never ready" {
			return errdefs.ErrUnavailable
		}
		return nil
	})
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bug == "forgets" {
		clear(m.builds)
	}
	return nil
}

// enter does something under the lock, when the store is not stalled.
func (s *store) enter(ctx context.Context, do func() error) error {
	s.mu.Lock()
	gate := s.stalled
	s.mu.Unlock()
	done := ctx.Done()
	if s.bug == "deaf" {
		done = nil
	} else if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if gate != nil {
		select {
		case <-gate:
		case <-done:
			return context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return do()
}

var errOver = errors.New("the turn is over")

// report is a build of a store.
type report struct {
	*store
	id      uint64
	turn    sink.Turn
	until   time.Time // of the first look at the fence
	used    bool      // something was appended
	pending []sink.Line
	put     []string
	final   bool
	owns    int
}

// fenced looks at the fence; what says which kind of write asks.
func (r *report) fenced(what string) error {
	until := r.turn.Fence()
	if r.until.IsZero() {
		r.until = until
	}
	switch {
	case r.bug == "ignores the fence of "+what, r.bug == "ignores the fence of lines, and more" && (what == "lines" || what == "commit"):
		return nil
	case r.bug == "asks the fence once", r.bug == "asks the fence of "+what+" once":
		until = r.until
	case r.bug == "the fence is zero or not" && !until.IsZero():
		return nil
	case r.bug == "the fence was open" && r.used:
		return nil
	}
	if !time.Now().Before(until) {
		return errOver
	}
	return nil
}

// known is the build.
func (r *report) known() (*sinktest.Build, error) {
	b := r.builds[r.id]
	switch {
	case b != nil:
		return b, nil
	case r.makes && r.bug != "knows what it was told":
		r.add(r.id)
		return r.builds[r.id], nil
	case r.bug == "unknown is unavailable":
		return nil, errdefs.ErrUnavailable
	}
	return nil, errdefs.ErrNotFound
}

func (r *report) Lines(ctx context.Context) (n uint64, err error) {
	return n, r.enter(ctx, func() error {
		if r.bug != "sends old lines" {
			r.pending = nil
		}
		if b := r.builds[r.id]; b != nil {
			n = uint64(len(b.Lines))
		}
		if r.bug == "counts one less" && n > 0 {
			n--
		}
		if r.bug == "counts its own" {
			n = uint64(r.owns)
		}
		return nil
	})
}

func (r *report) Clean() bool { return true }

func (r *report) Find(ctx context.Context, prefix string) (n, since uint64, err error) {
	if n, err = r.Lines(ctx); err != nil {
		return 0, 0, err
	}
	return n, since, r.enter(ctx, func() error {
		if b := r.builds[r.id]; b != nil {
			for i, l := range b.Lines {
				if strings.HasPrefix(string(l.Text), prefix) && !(r.bug == "finds the first" && since > 0) {
					since = n - uint64(i)
				}
			}
		}
		return nil
	})
}

func (r *report) Append(ctx context.Context, at uint64, lines []sink.Line) error {
	return r.enter(ctx, func() error {
		if err := r.fenced("lines"); err != nil {
			return err
		}
		b, err := r.known()
		if err != nil {
			return err
		}
		trusts := r.bug == "trusts anybody" || r.bug == "trusts the first" && !r.used
		if at != uint64(len(b.Lines)+len(r.pending)) && !trusts {
			if r.bug == "stores what it refuses" {
				b.Lines = append(b.Lines, lines...)
			}
			return errors.New("wrong at")
		}
		r.used = true
		for _, l := range lines {
			if l, ok := r.bent(l); ok {
				r.pending = append(r.pending, l)
			}
		}
		if n := len(r.pending); r.bug == "reorders" && n > 1 {
			r.pending[n-1], r.pending[n-2] = r.pending[n-2], r.pending[n-1]
		}
		if r.bug == "loses a line" && len(lines) > 5 {
			r.pending = slices.Delete(r.pending, len(r.pending)-3, len(r.pending)-2)
		}
		return nil
	})
}

// bent is a line as it is stored.
func (r *report) bent(l sink.Line) (sink.Line, bool) {
	if r.bug != "keeps slices" {
		l.Text = bytes.Clone(l.Text)
	}
	switch {
	case r.bug == "skips empty lines" && len(l.Text) == 0:
		return l, false
	case r.bug == "cuts lines" && len(l.Text) > 64<<10:
		l.Text = l.Text[:64<<10]
	case r.bug == "trims":
		l.Text = bytes.TrimSpace(l.Text)
	case r.bug == "rounds":
		l.Time = l.Time.Truncate(time.Millisecond)
	}
	return l, true
}

func (r *report) Commit(ctx context.Context) error {
	return r.enter(ctx, func() error {
		if len(r.pending) == 0 {
			if r.bug == "wants lines" {
				return errors.New("there is nothing")
			}
			return nil
		}
		if err := r.fenced("commit"); err != nil {
			return err
		}
		b, err := r.known()
		if err != nil {
			return err
		}
		if r.bug == "mixes" {
			b = r.builds[r.last]
		}
		if r.bug == "stores late" {
			b.Lines, r.pending = append(b.Lines, r.pending[:len(r.pending)-1]...), r.pending[len(r.pending)-1:]
			return nil
		}
		b.Lines = append(b.Lines, r.pending...)
		r.owns += len(r.pending)
		if r.bug == "doubles" && len(r.pending) > 5 {
			b.Lines = append(b.Lines, r.pending[len(r.pending)-1])
		}
		if r.bug == "is full" {
			b.Lines = b.Lines[:min(len(b.Lines), 65535)]
		}
		r.pending = nil
		return nil
	})
}

func (r *report) Status(ctx context.Context) (s sink.Status, err error) {
	return s, r.enter(ctx, func() error {
		b, err := r.known()
		if err == nil {
			s = b.Status
		}
		if r.bug == "runs at once" && s == sink.Scheduling {
			s = sink.Running
		}
		return err
	})
}

func (r *report) SetStatus(ctx context.Context, s sink.Status) error {
	return r.enter(ctx, func() error {
		if err := r.fenced("status"); err != nil {
			return err
		}
		b, err := r.known()
		if err != nil {
			return err
		}
		switch {
		case r.bug == "all fail" && s == sink.Completed:
			s = sink.Failed
		case r.bug == "none fails" && s == sink.Failed:
			s = sink.Completed
		case r.bug == "has to run first" && s.Final() && b.Status == sink.Scheduling:
			return errors.New("it does not run")
		case r.bug == "once" && s == b.Status && !s.Final(), r.bug == "ends once" && s == b.Status && s.Final():
			return errors.New("it is so already")
		case r.bug == "goes back" && !s.Final(), r.bug == "overwrites" && s.Final():
		case r.final, r.keeps && b.Status.Final() && r.bug != "goes back for another" && r.bug != "overwrites for another":
			return nil
		}
		if b.Status != s {
			b.History = append(b.History, s)
		}
		b.Status, r.final = s, s.Final()
		return nil
	})
}
