package drivertest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

func brokenResults() map[string]breakage {
	broken := map[string]breakage{
		"killed-inside":       outcome(driver.Exited, 137, 0),
		"killed-outside":      outcome(driver.Signaled, 143, 15),
		"trapped-term":        outcome(driver.Signaled, 143, 15),
		"out-of-memory":       outcome(driver.Signaled, 137, 9),
		"out-of-memory-child": outcome(driver.Exited, 1, 0),
		"command-not-found":   result(func(r *driver.Result) { r.Reason = "it did not work" }),
		"not-executable":      startSaysWhy,
		"removed-outside":     outcome(driver.Exited, 0, 0),
		"wait-before-start":   waitNeedsStart,
		"wait-after-exit":     waitOnce,
		"wait-three-callers":  result(func(r *driver.Result) { r.Ended = time.Now() }),
		"wait-cancelled":      cancelKills,
		"wait-removed":        removedIsUnknown,
		"times":               result(func(r *driver.Result) { r.Started, r.Ended = r.Ended, r.Started }),
		"holder": hurried(with(func(h *hooks) {
			h.wait = func(ctx context.Context, _ driver.Driver, _ driver.TaskID) (driver.Result, error) {
				<-ctx.Done()
				return driver.Result{}, context.Cause(ctx)
			}
		})),
		"line-cut-while-waiting": cutIsSuccess,
	}
	for _, code := range []int{0, 1, 2, 125, 126, 127, 128, 255} {
		broken[fmt.Sprint("exit-code-", code)] = result(func(r *driver.Result) { r.Code = (r.Code + 1) % 256 })
	}
	return broken
}

// startSaysWhy returns an error of Start for a process that cannot be started.
func startSaysWhy(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.start = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
			if err := d.Start(ctx, id); err != nil {
				return err
			}
			if res, err := d.Wait(ctx, id); err == nil && res.Outcome == driver.StartFailed {
				return errors.New(res.Reason)
			}
			return nil
		}
	})(h)
}

func waitNeedsStart(h *drivertest.Harness) {
	with(func(h *hooks) {
		refused := make(chan struct{})
		var once sync.Once
		h.start = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
			<-refused // the case calls Wait in another goroutine
			return d.Start(ctx, id)
		}
		h.wait = func(context.Context, driver.Driver, driver.TaskID) (driver.Result, error) {
			defer once.Do(func() { close(refused) })
			return driver.Result{}, errors.New("not started")
		}
	})(h)
}

// waitOnce forgets the result when it has told it.
func waitOnce(h *drivertest.Harness) {
	with(func(h *hooks) {
		var calls counter
		h.wait = func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
			res, err := d.Wait(ctx, id)
			if calls.next() > 1 {
				res = driver.Result{}
			}
			return res, err
		}
	})(h)
}

// cancelKills ends the task when the waiting ends.
func cancelKills(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.wait = func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
			res, err := d.Wait(ctx, id)
			if ctx.Err() != nil {
				d.Remove(context.WithoutCancel(ctx), id)
			}
			return res, err
		}
	})(h)
}

func removedIsUnknown(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.wait = func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
			res, err := d.Wait(ctx, id)
			if errors.Is(err, errdefs.ErrNotFound) {
				return driver.Result{}, nil
			}
			return res, err
		}
	})(h)
}

// broken connections, which the harness cuts through a hook.
func cuttable(h *drivertest.Harness, hook func(*hooks, <-chan struct{})) {
	open := h.Open
	h.OpenCuttable = func(ctx context.Context, owner string) (driver.Driver, drivertest.Line, error) {
		d, err := open(ctx, owner)
		if err != nil {
			return nil, drivertest.Line{}, err
		}
		b, cut := &hooks{Driver: d}, make(chan struct{})
		hook(b, cut)
		return b, drivertest.Line{Cut: func() { close(cut) }, Restore: func() {}}, nil
	}
}

func cutIsSuccess(h *drivertest.Harness) {
	cuttable(h, func(b *hooks, cut <-chan struct{}) {
		b.wait = func(context.Context, driver.Driver, driver.TaskID) (driver.Result, error) {
			<-cut
			return driver.Result{Outcome: driver.Exited}, nil
		}
	})
}

func brokenLogs() map[string]breakage {
	fromStart := logOptions(func(o *driver.LogOptions) { o.From = "" })
	return map[string]breakage{
		"every-line":       dropEntry(123_456),
		"rotation":         dropEntry(50_000),
		"exit-at-once":     dropEntry(0),
		"last-line":        dropLine("no newline"),
		"long-line":        entries(func(_ int, e *driver.LogEntry) bool { e.Partial = false; return true }),
		"carriage-returns": line(func(l []byte) []byte { return bytes.TrimSuffix(l, []byte("\r")) }),
		"binary":           line(func(l []byte) []byte { return bytes.ToValidUTF8(l, []byte("\ufffd")) }),
		"empty-lines":      entries(func(_ int, e *driver.LogEntry) bool { return len(e.Line) > 0 }),
		"streams":          entries(func(_ int, e *driver.LogEntry) bool { e.Stream = driver.Stdout; return true }),
		"silent":           chatty,
		"never-started":    chatty,
		"ended": with(func(h *hooks) {
			h.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
				return emptyLog{}, nil
			}
		}),
		"follow-before-start": dropEntry(0),
		"follow-twice":        secondReaderEmpty,
		"no-follow":           hurried(logOptions(func(o *driver.LogOptions) { o.Follow = true })),
		"cursor":              fromStart,
		"cursor-live":         fromStart,
		"cursor-long-line":    fromStart,
		"cursor-end":          fromStart,
		"cursor-foreign":      fromStart,
		"unknown-task": with(func(h *hooks) {
			h.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
				r, err := d.Logs(ctx, id, opts)
				if err != nil {
					return emptyLog{}, nil
				}
				return r, nil
			}
		}),
		"holder":         dropLine("last words"),
		"stalled-reader": dropEntry(20_000),
		"close":          closedIsEnd,
		"times": entries(func(n int, e *driver.LogEntry) bool {
			e.Time = e.Time.Add(-time.Duration(n) * time.Second)
			return true
		}),
		"init-and-services": entries(func(_ int, e *driver.LogEntry) bool { e.Container = driver.MainContainer; return true }),
		"line-cut":          cutIsEnd,
		"line-cut-idle":     cutIsEnd,
	}
}

func line(change func([]byte) []byte) breakage {
	return entries(func(_ int, e *driver.LogEntry) bool { e.Line = change(e.Line); return true })
}

// chatty adds a line to each log.
func chatty(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
			r, err := d.Logs(ctx, id, opts)
			if err != nil {
				return nil, err
			}
			return &greeting{LogReader: r}, nil
		}
	})(h)
}

type greeting struct {
	driver.LogReader
	said bool
}

func (g *greeting) Next() (driver.LogEntry, error) {
	if !g.said {
		g.said = true
		return driver.LogEntry{Container: driver.MainContainer, Stream: driver.Stdout, Line: []byte("welcome")}, nil
	}
	return g.LogReader.Next()
}

func secondReaderEmpty(h *drivertest.Harness) {
	with(func(h *hooks) {
		var calls counter
		h.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
			if calls.next() > 1 {
				return emptyLog{}, nil
			}
			return d.Logs(ctx, id, opts)
		}
	})(h)
}

// endsEarly takes any error, or a cut, for the end.
type endsEarly struct {
	driver.LogReader
	cut <-chan struct{}
}

func (r *endsEarly) Next() (driver.LogEntry, error) {
	type got struct {
		e   driver.LogEntry
		err error
	}
	c := make(chan got, 1)
	go func() {
		e, err := r.LogReader.Next()
		c <- got{e, err}
	}()
	select {
	case <-r.cut:
		return driver.LogEntry{}, io.EOF
	default:
	}
	select {
	case g := <-c:
		if g.err != nil {
			g.err = io.EOF
		}
		return g.e, g.err
	case <-r.cut:
		return driver.LogEntry{}, io.EOF
	}
}

func closedIsEnd(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
			r, err := d.Logs(ctx, id, opts)
			return &endsEarly{LogReader: r}, err
		}
	})(h)
}

func cutIsEnd(h *drivertest.Harness) {
	cuttable(h, func(b *hooks, cut <-chan struct{}) {
		b.logs = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
			r, err := d.Logs(ctx, id, opts)
			return &endsEarly{LogReader: r, cut: cut}, err
		}
	})
}

func brokenAfter() map[string]breakage {
	return map[string]breakage{
		"nothing-left": func(h *drivertest.Harness) {
			h.Left = func(context.Context, string) ([]string, error) { return []string{"network of a task"}, nil }
		},
		"no-goroutine": func(h *drivertest.Harness) {
			open := h.Open
			h.Open = func(ctx context.Context, owner string) (driver.Driver, error) {
				go func() { select {} }()
				return open(ctx, owner)
			}
		},
		"no-descriptor": func(h *drivertest.Harness) {
			open := h.Open
			var kept []*os.File // a file that nobody holds is closed when it is collected
			h.Open = func(ctx context.Context, owner string) (driver.Driver, error) {
				r, w, err := os.Pipe()
				if err != nil {
					return nil, err
				}
				kept = append(kept, r, w)
				return open(ctx, owner)
			}
		},
	}
}
