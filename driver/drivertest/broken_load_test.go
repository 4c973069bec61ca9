package drivertest_test

import (
	"context"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

func brokenLoad() map[string]breakage {
	return map[string]breakage{
		"fifty-at-once": wasteful,
		"calls-of-one":  wasteful,
		"silent":        polling,
		"idle":          restless,
	}
}

// counting breaks the driver values whose calls are counted.
func counting(hook func(*hooks)) breakage {
	return func(h *drivertest.Harness) {
		open := h.OpenCounted
		h.OpenCounted = func(ctx context.Context, owner string) (driver.Driver, func() int, error) {
			d, calls, err := open(ctx, owner)
			b := &hooks{Driver: d}
			hook(b)
			return b, calls, err
		}
	}
}

// wasteful asks a dozen times whether the task is there.
var wasteful = counting(func(h *hooks) {
	h.start = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
		for range 12 {
			if _, err := d.List(ctx, driver.ListOptions{}); err != nil {
				return err
			}
		}
		return d.Start(ctx, id)
	}
})

// ask lists the tasks again and again, until done is closed.
func ask(d driver.Driver, done <-chan struct{}) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.List(context.Background(), driver.ListOptions{})
		case <-done:
			return
		}
	}
}

// polling asks while it waits.
var polling = counting(func(h *hooks) {
	h.wait = func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
		done := make(chan struct{})
		defer close(done)
		go ask(d, done)
		return d.Wait(ctx, id)
	}
})

// restless asks always.
var restless = counting(func(h *hooks) {
	done := make(chan struct{})
	go ask(h.Driver, done)
	h.close = func(d driver.Driver) error {
		close(done)
		return d.Close()
	}
})
