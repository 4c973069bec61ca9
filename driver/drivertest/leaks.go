package drivertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/goleak"

	"github.com/wharfci/wharf/driver"
)

// baseline is what the process has before the first case.
type baseline struct {
	goroutines  goleak.Option
	descriptors map[string]int
}

func takeBaseline() baseline {
	return baseline{goroutines: goleak.IgnoreCurrent(), descriptors: descriptors()}
}

// after are the checks that follow the last case, also where ctx has ended. What is found on the runtime is removed.
func (s *suite) after(ctx context.Context) []Report {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(s.h.Slow*float64(2*time.Minute)))
	defer cancel()
	return []Report{
		s.check("after/nothing-left", "After the suite nothing is left on the runtime.", func() []string { return s.allLeft(ctx) }),
		s.check("after/no-goroutine", "Close ends the driver's connections and goroutines, within five seconds.", s.goroutines),
		s.check("after/no-descriptor", "Close ends the driver's connections; no file descriptor stays open.", func() []string {
			return newDescriptors(s.before.descriptors)
		}),
	}
}

func (s *suite) check(id, contract string, f func() []string) Report {
	began := time.Now()
	return Report{ID: id, Group: "after", Contract: contract, Failures: f(), Took: time.Since(began)}
}

func (s *suite) allLeft(ctx context.Context) []string {
	var failures []string
	for _, owner := range s.owners {
		left, err := s.h.Left(ctx, owner)
		if err != nil {
			return append(failures, fmt.Sprintf("Harness.Left: %v", err))
		}
		for _, what := range left {
			failures = append(failures, fmt.Sprintf("left by owner %s: %s", owner, what))
		}
		if len(left) > 0 {
			if err := s.sweep(ctx, owner); err != nil {
				failures = append(failures, fmt.Sprintf("what owner %s has left cannot be removed: %v", owner, err))
			}
		}
	}
	if err := s.unload(ctx); err != nil {
		failures = append(failures, fmt.Sprintf("the suite's images cannot be removed: %v", err))
	}
	return failures
}

// sweep removes what an owner has left, as far as the driver sees it.
func (s *suite) sweep(ctx context.Context, owner string) error {
	d, err := s.h.Open(ctx, owner)
	if err != nil {
		return err
	}
	defer d.Close()
	tasks, err := d.List(ctx, driver.ListOptions{})
	for _, t := range tasks {
		err = errors.Join(err, d.Remove(ctx, t.ID))
	}
	volumes, listErr := d.ListVolumes(ctx, driver.ListOptions{})
	err = errors.Join(err, listErr)
	for _, v := range volumes {
		err = errors.Join(err, d.RemoveVolume(ctx, v.ID))
	}
	return err
}

// goroutines reports those that the cases left behind. Goroutines of the testing package are not the
// driver's. Each look waits about a second for goroutines to end; Close has five.
func (s *suite) goroutines() []string {
	var err error
	for range 5 {
		err = goleak.Find(s.before.goroutines,
			goleak.IgnoreAnyFunction("testing.tRunner"), goleak.IgnoreAnyFunction("testing.(*M).startAlarm.func1"))
		if err == nil {
			return nil
		}
	}
	return []string{err.Error()}
}

// descriptors counts the process's open files by what they are.
func descriptors() map[string]int {
	open := map[string]int{}
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return open
	}
	for _, entry := range entries {
		target, err := os.Readlink("/dev/fd/" + entry.Name())
		if err != nil {
			continue // the one that read the directory, or closed meanwhile
		}
		kind, _, _ := strings.Cut(target, ":[") // sockets and pipes by kind, files by name
		open[kind]++
	}
	return open
}

// newDescriptors reports what is open now and was not before.
func newDescriptors(before map[string]int) []string {
	var failures []string
	for kind, n := range descriptors() {
		if extra := n - before[kind]; extra > 0 && !strings.HasPrefix(kind, "anon_inode") {
			failures = append(failures, fmt.Sprintf("%d more of %s than before the suite", extra, kind))
		}
	}
	slices.Sort(failures)
	return failures
}
