package drivertest

import (
	"cmp"
	"context"
	"regexp"
	"sync"
)

// Options choose what [Check] runs, and how.
type Options struct {
	// Match selects the cases whose id it matches; nil selects all.
	Match *regexp.Regexp
	// Parallel is how many cases run at once; 0 is 4.
	Parallel int
	// Begin, if not nil, is called before a case runs, and Observe with each report as it is there: both by one goroutine at a time.
	Begin   func(Case)
	Observe func(Report)
}

// Matching returns the cases that [Check] runs with these options, in the order of [Cases].
func (o Options) Matching() []Case {
	var cases []Case
	for _, c := range Cases() {
		if o.Match == nil || o.Match.MatchString(c.ID) {
			cases = append(cases, c)
		}
	}
	return cases
}

// Check runs the cases that opts selects, and then checks that nothing is left. The reports are in the order of
// [Cases].
//
// When ctx ends, no further case begins, those that run end early, and everything that the suite has made is removed: that
// takes seconds. The reports are then those of the cases that were whole before.
//
// The error says why the suite could not run to its end: a harness that is not complete, images that could not be
// built or loaded, the cause of ctx's end.
func Check(ctx context.Context, h Harness, opts Options) ([]Report, error) {
	s, err := newSuite(ctx, h)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	begin := func(c Case) {
		mu.Lock()
		defer mu.Unlock()
		if opts.Begin != nil {
			opts.Begin(c)
		}
	}
	var reports []Report
	observe := func(r Report) {
		mu.Lock()
		defer mu.Unlock()
		if opts.Observe != nil {
			opts.Observe(r)
		}
	}
	cases := opts.Matching()
	done := make([]*Report, len(cases))
	var wg sync.WaitGroup
	slots := make(chan struct{}, cmp.Or(opts.Parallel, 4))
	for i, c := range cases {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			begin(c)
			r := s.runCase(ctx, c)
			if ctx.Err() == nil { // else it may have failed for that
				done[i] = &r
				observe(r)
			}
		})
	}
	wg.Wait()
	for _, r := range done {
		if r != nil {
			reports = append(reports, *r)
		}
	}
	for _, r := range s.after(ctx) {
		reports = append(reports, r)
		observe(r)
	}
	return reports, context.Cause(ctx)
}
