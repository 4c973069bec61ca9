package drivertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// Run runs every case as a parallel subtest of t, and then checks that nothing is left. No other
// test may run in parallel with it: it looks at the goroutines of the whole process.
func Run(t *testing.T, h Harness) {
	s, err := newSuite(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("cases", func(t *testing.T) {
		for _, c := range Cases() {
			t.Run(c.ID, func(t *testing.T) {
				t.Parallel()
				tell(t, s.runCase(t.Context(), c))
			})
		}
	})
	for _, r := range s.after(t.Context()) {
		t.Run(r.ID, func(t *testing.T) { tell(t, r) })
	}
}

func tell(t *testing.T, r Report) {
	t.Helper()
	for _, note := range r.Notes {
		t.Log(note)
	}
	if !r.Passed() {
		t.Error(r)
	}
}

// suite is one run of the cases against one harness.
type suite struct {
	h      Harness
	id     string // fresh, so that two suites on one runtime do not meet
	before baseline
	faults *uint64 // the seed of the moments at which lines are cut; nil if they are not
	mu     sync.Mutex
	owners []string
	binary []byte // the test program, once it was copied out of an image

	image, usersImage string
}

func newSuite(ctx context.Context, h Harness) (*suite, error) {
	var missing []string
	for name, absent := range map[string]bool{
		"Open": h.Open == nil, "Load": h.Load == nil && !h.Loaded, "Left": h.Left == nil,
		"RemoveOutside": h.RemoveOutside == nil, "SignalOutside": h.SignalOutside == nil,
		"RemoveImage": h.RemoveImage == nil && h.Images.Temporary,
	} {
		if absent {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("the harness lacks %s", strings.Join(missing, ", "))
	}
	if h.Slow == 0 {
		h.Slow = 1
	}
	if h.CallsPerTask == 0 {
		h.CallsPerTask = 12
	}
	if h.StopMargin == 0 {
		h.StopMargin = 10 * time.Second
	}
	if h.RegistryHost == "" {
		h.RegistryHost = "127.0.0.1"
	}
	s := &suite{h: h, id: strings.ToLower(rand.Text()[:6]), image: Image, usersImage: UsersImage}
	if h.Images.Temporary {
		s.h.Images.tag = s.id
		s.image, s.usersImage = imageNames(s.id)
	}
	if err := s.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("load the suite's images: %w", err), s.unload(ctx))
	}
	s.before = takeBaseline()
	return s, nil
}

// load brings the images in. It opens a driver value first, so that what the process makes once and keeps (the
// poller's descriptors) is there before the leak checks count.
func (s *suite) load(ctx context.Context) error {
	d, err := s.h.Open(ctx, "suite-"+s.id)
	if err != nil {
		return err
	}
	defer d.Close()
	caps, err := d.Capabilities(ctx)
	if err != nil || s.h.Loaded {
		return err
	}
	if s.h.Images.Arch == "" {
		s.h.Images.Arch = caps.Arch
	}
	archive, err := BuildImages(ctx, s.h.Images)
	if err != nil {
		return err
	}
	defer archive.Close()
	return s.h.Load(ctx, archive)
}

// unload removes the images again, if they are of this run alone.
func (s *suite) unload(ctx context.Context) error {
	if !s.h.Images.Temporary {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(s.h.RemoveImage(ctx, s.usersImage), s.h.RemoveImage(ctx, s.image))
}

// runCase runs one case under an owner of its own, and clears away what it left.
func (s *suite) runCase(ctx context.Context, c Case) Report {
	began := time.Now()
	e := &Env{suite: s, report: Report{ID: c.ID, Group: c.Group, Contract: c.Contract}}
	limit := c.Timeout
	if limit == 0 {
		limit = 5 * time.Minute // for one that hangs: on a busy machine a task may take long
	}
	limit = time.Duration(float64(limit) * s.h.Slow)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the case's time limit of %s is over", limit))
	defer cancel()
	e.ctx = ctx
	done := make(chan struct{})
	go func() { // of its own, so that Fatalf can end it
		defer close(done)
		defer e.recovered()
		e.begin()
		c.Run(e)
	}()
	<-done
	e.end()
	if s.faults != nil && !e.report.Passed() {
		e.Errorf("the line was cut at random moments, with the seed %d", *s.faults)
	}
	e.report.Took = time.Since(began)
	return e.report
}

// recovered turns a panic of a case, or of the driver under it, into a failure.
func (e *Env) recovered() {
	if p := recover(); p != nil {
		e.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// errNotRunnable is why a case ends that had no driver to run on.
var errNotRunnable = errors.New("the driver could not be opened")
