package drivertest_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/drivertest/testprog"
	"github.com/wharfci/wharf/driver/fake"
)

// fakeHarness returns a harness of a new runtime in memory, which runs the suite's program in process.
func fakeHarness(cfg fake.Config) drivertest.Harness {
	run := func(_ context.Context, p *fake.Proc) int { return testprog.Main(p) }
	cfg.Programs = map[string]fake.Program{"/testprog": run}
	cfg.Images = map[string]fake.Image{}
	cfg.Pull = pull
	cfg.Patience = time.Second
	rt := fake.New(cfg)
	return drivertest.Harness{
		Open:         func(_ context.Context, owner string) (driver.Driver, error) { return rt.Open(owner), nil },
		OpenAllowing: func(_ context.Context, owner string) (driver.Driver, error) { return rt.OpenAllowing(owner), nil },
		OpenCounted: func(_ context.Context, owner string) (driver.Driver, func() int, error) {
			d := rt.Open(owner)
			return d, d.Calls, nil
		},
		OpenCuttable: func(_ context.Context, owner string) (driver.Driver, drivertest.Line, error) {
			d := rt.Open(owner)
			return d, drivertest.Line{Cut: d.Cut, Restore: d.Restore}, nil
		},
		Load:          func(_ context.Context, images io.Reader) error { return rt.Load(images) },
		RemoveOutside: func(_ context.Context, id driver.TaskID) error { return rt.Remove(id) },
		SignalOutside: func(_ context.Context, id driver.TaskID, signal int) error { return rt.Signal(id, signal) },
		RemoveImage:   func(_ context.Context, image string) error { rt.RemoveImage(image); return nil },
		Left:          func(_ context.Context, owner string) ([]string, error) { return rt.Left(owner), nil },
	}
}

func TestFake(t *testing.T) {
	drivertest.Run(t, fakeHarness(fake.Config{}))
}

func TestFakeUnderFaults(t *testing.T) {
	drivertest.RunFaults(t, fakeHarness(fake.Config{}), rand.Uint64())
}

func TestCheck(t *testing.T) {
	var seen []string
	reports, err := drivertest.Check(t.Context(), fakeHarness(fake.Config{}), drivertest.Options{
		Match:   regexp.MustCompile("^results/exit-code-"),
		Observe: func(r drivertest.Report) { seen = append(seen, r.ID) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(reports) != 8+3 || len(seen) != len(reports) {
		t.Errorf("got %d reports, observed %q; want the eight that match, and three checks", len(reports), seen)
	}
	for _, r := range reports {
		if !r.Passed() {
			t.Error(r)
		}
	}
	if _, err := drivertest.Check(t.Context(), drivertest.Harness{}, drivertest.Options{}); err == nil {
		t.Error("a harness that lacks everything is accepted")
	}
}

// TestTemporaryImages looks whether images of one run have names of their own, and are removed.
func TestTemporaryImages(t *testing.T) {
	h := fakeHarness(fake.Config{})
	h.Images.Temporary = true
	var mu sync.Mutex
	var removed []string
	remove := h.RemoveImage
	h.RemoveImage = func(ctx context.Context, image string) error {
		mu.Lock()
		defer mu.Unlock()
		removed = append(removed, image)
		return remove(ctx, image)
	}
	reports, err := drivertest.Check(t.Context(), h, drivertest.Options{Match: regexp.MustCompile("^results/exit-code-0$|^fidelity/dir-image$")})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if !r.Passed() {
			t.Error(r)
		}
	}
	if len(removed) != 2 || slices.Contains(removed, drivertest.Image) || slices.Contains(removed, drivertest.UsersImage) {
		t.Errorf("the images %q were removed; want two, of this run alone", removed)
	}
	h.RemoveImage = nil
	if _, err := drivertest.Check(t.Context(), h, drivertest.Options{}); err == nil || !strings.Contains(err.Error(), "RemoveImage") {
		t.Errorf("without RemoveImage: %v", err)
	}
}

// TestCheckInterrupted ends the suite while a case runs that would take long.
func TestCheckInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	var began []string
	reports, err := drivertest.Check(ctx, fakeHarness(fake.Config{}), drivertest.Options{
		Match:    regexp.MustCompile("^results/exit-code-0$|^load/silent$|^load/idle$"),
		Parallel: 1,
		Begin: func(c drivertest.Case) {
			began = append(began, c.ID)
			if c.ID == "load/silent" {
				cancel(enough)
			}
		},
	})
	if !errors.Is(err, enough) {
		t.Errorf("the error is %v; want the cause of the context's end", err)
	}
	if want := []string{"results/exit-code-0", "load/silent"}; !slices.Equal(began, want) {
		t.Errorf("the cases %q began; want %q", began, want)
	}
	var ids []string
	for _, r := range reports {
		ids = append(ids, r.ID)
		if !r.Passed() {
			t.Error(r)
		}
	}
	if want := []string{"results/exit-code-0", "after/nothing-left", "after/no-goroutine", "after/no-descriptor"}; !slices.Equal(ids, want) {
		t.Errorf("there are reports of %q; want %q", ids, want)
	}
}
