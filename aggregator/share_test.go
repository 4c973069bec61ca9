package aggregator_test

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
)

// wire is a network that can be cut so that nobody notices: what is sent is not delivered, and nothing is closed.
type wire struct {
	mu   sync.Mutex
	cut  bool
	mend chan struct{}
}

func newWire() *wire {
	w := &wire{mend: make(chan struct{})}
	close(w.mend)
	return w
}

func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cut && !w.cut {
		w.mend = make(chan struct{})
	} else if !cut && w.cut {
		close(w.mend)
	}
	w.cut = cut
}

// wait waits while the wire is cut, or until done is closed.
func (w *wire) wait(done <-chan struct{}) {
	w.mu.Lock()
	mend := w.mend
	w.mu.Unlock()
	select {
	case <-mend:
	case <-done:
	}
}

// wired is a connection on a wire.
type wired struct {
	net.Conn
	wire *wire
	done chan struct{}
	once sync.Once
}

func (c *wired) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wire.wait(c.done)
	return n, err
}

func (c *wired) Write(p []byte) (int, error) {
	c.wire.wait(c.done)
	return c.Conn.Write(p)
}

func (c *wired) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

func (w *wire) on(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &wired{Conn: c, wire: w, done: make(chan struct{})}, nil
}

// wiredDriver reaches tasks over a wire.
type wiredDriver struct {
	driver.Driver
	wire *wire
}

func (d *wiredDriver) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	d.wire.wait(ctx.Done())
	return d.wire.on(driver.Dial(ctx, d.Driver, id, port))
}

func (d *wiredDriver) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	return driver.Events(ctx, d.Driver, opts, f)
}

// over has an aggregator reach everything over a wire.
func over(w *wire) func(*aggregator.Config, *wharfapi.Options) {
	return func(cfg *aggregator.Config, opts *wharfapi.Options) {
		cfg.Driver = &wiredDriver{cfg.Driver, w}
		opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			w.wait(ctx.Done())
			return w.on((&net.Dialer{}).DialContext(ctx, network, address))
		}
	}
}

// holds is how many workers an aggregator has.
func (r *running) holds() int { return r.metric("wharf_aggregator_workers") }

// metric is one of its metrics.
func (r *running) metric(name string) (n int) {
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, _ = fmt.Sscan(rest, &n)
		}
	}
	return n
}

// held waits until the aggregators have so many workers, and returns how long that took. Nothing tells.
func (w *world) held(what string, of []*running, want func([]int) bool) time.Duration {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		var now []int
		for _, r := range of {
			now = append(now, r.holds())
		}
		if want(now) {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			w.t.Fatalf("%s: they have %v workers", what, now)
		}
	}
}

func sum(of []int) (n int) {
	for _, i := range of {
		n += i
	}
	return n
}

// Three aggregators share workers evenly; of one that is cut off the others take over, it does no harm when it comes back, and gets its share again.
func TestShare(t *testing.T) {
	workers := 30
	if os.Getenv("WHARF_SOAK") != "" {
		workers = 60
	}
	w := newWorld(t, wharfapitest.Options{})
	var all []*fakeWorker
	for i := range workers {
		all = append(all, w.add(uint64(i+1)).start())
	}
	cut := newWire()
	three := []*running{w.aggregator("one", over(cut)), w.aggregator("two", nil), w.aggregator("three", nil)}
	even := func(n []int) bool { return sum(n) == workers && slices.Max(n)-slices.Min(n) <= 1 }
	t.Logf("shared evenly after %v", w.held("at first", three, even))
	var printing sync.WaitGroup
	over, stop := context.WithCancel(t.Context())
	for _, f := range all {
		printing.Go(func() {
			for over.Err() == nil {
				f.many(5)
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	cut.set(true)
	t.Logf("taken over after %v", w.held("when one is cut off", three[1:], func(n []int) bool { return sum(n) == workers }))
	cut.set(false)
	t.Logf("shared again after %v", w.held("when it is back", three, even))
	three[1].stop()
	left := []*running{three[0], three[2]}
	t.Logf("handed over after %v", w.held("when one has ended", left, even))
	stop()
	printing.Wait()
	for _, f := range all {
		f.end(journal.Succeeded, "")
	}
	for _, f := range all {
		f.ended("Completed")
	}
}

// One of three aggregators does not reach wharf-api any more, and reaches its workers: it passes them to the others. When none of them does, each keeps what it has, and when it is back all goes on.
func TestSinkOutOfReach(t *testing.T) {
	const workers = 9
	w := newWorld(t, wharfapitest.Options{})
	var all []*fakeWorker
	for i := range workers {
		all = append(all, w.add(uint64(i+1)).start())
	}
	cut := newWire()
	three := []*running{w.aggregator("one", func(_ *aggregator.Config, opts *wharfapi.Options) {
		opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			cut.wait(ctx.Done())
			return cut.on((&net.Dialer{}).DialContext(ctx, network, address))
		}
	}), w.aggregator("two", nil), w.aggregator("three", nil)}
	even := func(n []int) bool { return sum(n) == workers && slices.Max(n)-slices.Min(n) <= 1 }
	t.Logf("shared evenly after %v", w.held("at first", three, even))
	cut.set(true)
	for _, f := range all {
		f.many(100)
	}
	t.Logf("passed on after %v", w.held("when one does not reach wharf-api", three[1:], func(n []int) bool { return sum(n) == workers }))
	for _, f := range all {
		w.until(f.build, "relayed", func(b *wharfapitest.Build) bool { return b.Count == 100 })
	}
	cut.set(false)
	t.Logf("shared again after %v", w.held("when it is back", three, even))

	w.api.Down()
	for _, f := range all {
		f.many(100)
	}
	for _, r := range three {
		w.t.Logf("found out after %v", r.outOfReach(w))
	}
	w.held("while wharf-api is away", three, func(n []int) bool { return sum(n) == workers })
	if err := w.api.Up(); err != nil {
		t.Fatal(err)
	}
	t.Logf("shared again after %v", w.held("when wharf-api is back", three, even))
	for _, f := range all {
		f.end(journal.Succeeded, "")
	}
	for _, f := range all {
		f.ended("Completed")
	}
}

// outOfReach waits until the aggregator knows that it does not reach wharf-api. Nothing tells.
func (r *running) outOfReach(w *world) time.Duration {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if r.metric("wharf_aggregator_sink_reachable") == 0 {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			w.t.Fatal("it does not know that it does not reach wharf-api")
		}
	}
}
