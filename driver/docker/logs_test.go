package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// counting prints n lines of some hundred bytes: see numbered.
func counting(n int) string { return fmt.Sprintf("seq 1 %d | sed s/$/%s/", n, filling) }

var filling = strings.Repeat("x", 100)

func numbered(i int) string { return fmt.Sprint(i) + filling }

// through returns a driver whose connections go through a proxy.
func through(t *testing.T) (*Driver, *drivertest.Proxy) {
	t.Helper()
	address, err := new(Config).Address()
	if err != nil {
		t.Fatal(err)
	}
	p, err := drivertest.NewProxy("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	d, err := New(Config{Owner: "test-" + newUID(), Host: "unix://" + p.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, p
}

// TestLogsSurviveCuts breaks every connection several times while lines are read, and looks
// whether one is missing, twice there, or out of order.
func TestLogsSurviveCuts(t *testing.T) {
	d, p := through(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const n = 100_000
	id := create(t, d, driver.TaskSpec{Container: sh(counting(n))})
	r := follow(ctx, t, d, id)
	for i := 1; ; i++ {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			if i != n+1 {
				t.Errorf("%d lines; want %d", i-1, n)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := string(e.Line); got != numbered(i) {
			t.Fatalf("line %d is %q", i, got)
		}
		if i%20_000 == 5_000 {
			p.Cut()
			p.Restore()
		}
	}
	if res, err := d.Wait(ctx, id); err != nil || !res.Succeeded() {
		t.Errorf("%v, %v", res, err)
	}
}

// TestSlowReader takes nothing until the task has ended: it must end, and every line must
// be there although far more was printed than is kept in memory.
func TestSlowReader(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const n = 150_000
	id := create(t, d, driver.TaskSpec{Container: sh(counting(n))})
	r := follow(ctx, t, d, id)
	if res, err := d.Wait(ctx, id); err != nil || !res.Succeeded() {
		t.Fatalf("%v, %v", res, err)
	}
	i := 0
	for e, err := range driver.Entries(r) {
		if err != nil {
			t.Fatal(err)
		}
		if i++; string(e.Line) != numbered(i) {
			t.Fatalf("line %d is %q", i, e.Line)
		}
	}
	if i != n {
		t.Errorf("%d lines; want %d", i, n)
	}
}

// TestRepeatingLines is a log whose end looks the same when lines are missing.
func TestRepeatingLines(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := create(t, d, driver.TaskSpec{Container: sh("yes | head -n 5000; seq 1 3 >&2")})
	r := follow(ctx, t, d, id)
	if lines, err := readAll(t, r); err != nil || len(lines) != 5003 {
		t.Errorf("%d lines, %v; want 5003", len(lines), err)
	}
}

// TestRemovedWhileRead ends the log: with an error, or well if everything could still be shown to be there.
func TestRemovedWhileRead(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := create(t, d, driver.TaskSpec{Container: sh("echo here; sleep 100")})
	r := follow(ctx, t, d, id)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Next(); err == nil {
		t.Errorf("after the removal: %q; want an error", e.Line)
	}
}
