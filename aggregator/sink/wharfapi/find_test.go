package wharfapi_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

func start(t *testing.T) (*wharfapitest.Server, *wharfapi.Sink) {
	t.Helper()
	api, err := wharfapitest.Start(wharfapitest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	s, err := wharfapi.New(api.URL(), wharfapi.Options{Settle: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return api, s
}

// A line is found by how it begins, also one that comes a moment after it was asked for: it may be under way.
func TestFind(t *testing.T) {
	api, s := start(t)
	for i, c := range []struct {
		lines  []string
		prefix string
		since  uint64
	}{
		{nil, "wharf: ", 0},
		{[]string{"one", "two"}, "wharf: ", 0},
		{[]string{"one", "wharf: it has \"ended\"", "three"}, "wharf: it has \"", 2},
		{[]string{"it is not a line of wharf: no"}, "wharf: ", 0},
		{[]string{"a", "b", "a", "c"}, "a", 2},
		{[]string{""}, "", 0},
	} {
		id := uint64(i + 1)
		api.Add(id)
		r := s.Open(id, sink.Turn{Fence: func() time.Time { return time.Now().Add(time.Minute) }})
		later := time.AfterFunc(100*time.Millisecond, func() {
			api.Change(id, func(b *wharfapitest.Build) {
				for _, l := range c.lines {
					b.Lines, b.Count = append(b.Lines, wharfapitest.Line{Message: l}), b.Count+1
				}
			})
		})
		n, since, err := r.Find(t.Context(), c.prefix)
		if err != nil || n != uint64(len(c.lines)) || since != c.since {
			t.Errorf("of %q it finds %q: the last %d, of %d lines, %v", c.lines, c.prefix, since, n, err)
		}
		later.Stop()
		_ = r.Close()
	}
}

// What a build is run by is told where wharf-api tells it.
func TestActiveEngine(t *testing.T) {
	api, s := start(t)
	api.Add(1)
	api.Add(2)
	api.Change(2, func(b *wharfapitest.Build) { b.Engine, b.Worker = "primary", "build-2-0123456789" })
	all, err := s.Active(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("the builds are %v, %v", all, err)
	}
	for _, b := range all {
		if b.ID == 1 && b.Engine+b.Worker != "" || b.ID == 2 && (b.Engine != "primary" || b.Worker != "build-2-0123456789") {
			t.Errorf("a build is %+v", b)
		}
	}
}

// A file that does not have the size that its journal tells is refused, and not tried again and again.
func TestWrongSize(t *testing.T) {
	api, s := start(t)
	api.Add(1)
	r := s.Open(1, sink.Turn{Fence: func() time.Time { return time.Now().Add(time.Minute) }, Clean: true})
	defer r.Close()
	for _, size := range []int64{2, 4} {
		err := r.PutArtifact(t.Context(), sink.Artifact{Name: "a.txt", Size: size, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("abc")), nil
		}})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("of 3 bytes that should be %d: %v", size, err)
		}
	}
	if b := api.Build(1); len(b.Files) > 0 {
		t.Errorf("stored were %+v", b.Files)
	}
}

// TestActiveMany lists more builds than wharf-api tells at once if it is not asked for more, while some of them end: none of the others is missed.
func TestActiveMany(t *testing.T) {
	api, s := start(t)
	const number = 1200
	for build := uint64(1); build <= number; build++ {
		api.Add(build)
	}
	var ending sync.WaitGroup
	ending.Go(func() {
		for build := uint64(number); build > 1; build-- {
			api.Change(build, func(b *wharfapitest.Build) { b.Status = "Completed" })
		}
	})
	defer ending.Wait()
	for most := number; most > 1; {
		all, err := s.Active(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(b sink.Build) bool { return b.ID == 1 }) {
			t.Fatalf("%d builds are active, and build 1 is not among them", len(all))
		}
		most = len(all)
	}
}

// A connection that could not be made is made anew with the next try, when the turn allows it: not in between, when nothing may be written, nor later than that.
func TestAgainAfterOutage(t *testing.T) {
	api, s := start(t)
	api.Add(1)
	var until atomic.Int64
	turn := func(d time.Duration) { until.Store(time.Now().Add(d).UnixNano()) }
	r := s.Open(1, sink.Turn{Fence: func() time.Time { return time.Unix(0, until.Load()) }, Clean: true})
	defer r.Close()
	line := []sink.Line{{Time: time.Now(), Text: []byte("a line")}}
	turn(time.Minute)
	if err := errors.Join(r.Append(t.Context(), 0, line), r.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	api.Down()
	time.Sleep(200 * time.Millisecond) // the connection's end is noticed, and the next one is refused
	if err := errors.Join(r.Append(t.Context(), 1, line), r.Commit(t.Context())); err == nil {
		t.Fatal("a line was stored by one that is away")
	}
	turn(-time.Second)
	if err := api.Up(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // gRPC tries again after one
	turn(time.Minute)
	have, err := r.Lines(t.Context())
	if err != nil || have != 1 {
		t.Fatalf("there are %d lines, %v", have, err)
	}
	if err := errors.Join(r.Append(t.Context(), 1, line), r.Commit(t.Context())); err != nil {
		t.Error(err)
	}
	if n := api.Count(1); n != 2 {
		t.Errorf("there are %d lines, want 2", n)
	}
}
