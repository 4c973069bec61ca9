package watchdog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/client"
)

// The times of the tests, by a clock that goes on as they say.
const (
	grace = 5 * time.Minute
	every = 30 * time.Second
)

// world is a wharf-api with some provisioners, and a clock.
type world struct {
	t      *testing.T
	api    *wharfapitest.Server
	places []*place
	log    bytes.Buffer
	clock  time.Time
}

// place is a provisioner that has the workers that a test gives it.
type place struct {
	*httptest.Server
	mu      sync.Mutex
	workers map[string]provisioner.Worker
	away    string // why it is not ready, if it is not
	down    bool
	lists   int
	deleted []string
	listed  func(lists int) // is called before each list
}

func newWorld(t *testing.T, provisioners int) *world {
	t.Helper()
	api, err := wharfapitest.Start(wharfapitest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	w := &world{t: t, api: api, clock: time.Now().Add(time.Hour)} // the builds have been scheduled before
	for range provisioners {
		w.places = append(w.places, newPlace(t))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

func newPlace(t *testing.T) *place {
	p := &place{workers: map[string]provisioner.Worker{}}
	mux := http.NewServeMux()
	problem := func(w http.ResponseWriter, code int, detail string) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(provisioner.Problem{Title: http.StatusText(code), Status: code, Detail: detail})
	}
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.away != "" {
			problem(w, http.StatusServiceUnavailable, p.away)
		}
	})
	mux.HandleFunc("GET /api/worker", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.lists++
		listed, n := p.listed, p.lists
		p.mu.Unlock()
		if listed != nil {
			listed(n)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		l := provisioner.List{}
		for _, one := range p.workers {
			l.Workers = append(l.Workers, one)
		}
		_ = json.NewEncoder(w).Encode(l)
	})
	mux.HandleFunc("/api/worker/{id}", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		one, there := p.workers[r.PathValue("id")]
		switch {
		case !there:
			problem(w, http.StatusNotFound, "there is none")
		case r.Method == http.MethodDelete:
			delete(p.workers, one.ID)
			p.deleted = append(p.deleted, one.ID)
			w.WriteHeader(http.StatusNoContent)
		default:
			_ = json.NewEncoder(w).Encode(one)
		}
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// set changes a provisioner.
func (p *place) set(change func(*place)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// add gives it a worker of a build, and returns the worker's ID.
func (p *place) add(build uint64, s provisioner.State) string { return p.addOf("", build, s) }

func (p *place) addOf(instance string, build uint64, s provisioner.State) string {
	id := fmt.Sprintf("build-%d-%s0123456789", build, instance)
	p.set(func(p *place) {
		p.workers[id] = provisioner.Worker{ID: id, Build: build, Instance: instance, State: s, Created: time.Unix(1_700_000_000, 0).In(time.FixedZone("", 3600))}
	})
	return id
}

func (p *place) remove(id string) { p.set(func(p *place) { delete(p.workers, id) }) }

// gone returns the workers that were deleted.
func (p *place) gone() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deleted
}

// watchdog returns one that knows nothing yet.
func (w *world) watchdog(change func(*watchdog.Config)) *watchdog.Watchdog {
	w.t.Helper()
	s, err := wharfapi.New(w.api.URL(), wharfapi.Options{Settle: 1, Timeout: 10 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	cfg := watchdog.Config{Sink: s, Grace: grace, Every: every, Log: hclog.New(&hclog.LoggerOptions{Output: &w.log, Level: hclog.Debug, Mutex: &sync.Mutex{}})}
	for _, p := range w.places {
		c, err := client.New(p.URL, "", client.Options{})
		if err != nil {
			w.t.Fatal(err)
		}
		cfg.Provisioners = append(cfg.Provisioners, c)
	}
	if change != nil {
		change(&cfg)
	}
	dog, err := watchdog.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	dog.SetClock(func() time.Time { return w.clock }, func(ctx context.Context, d time.Duration) bool {
		w.clock = w.clock.Add(d)
		return ctx.Err() == nil
	})
	return dog
}

// watch looks again and again for a time, and returns the last error.
func (w *world) watch(dog *watchdog.Watchdog, d time.Duration) (err error) {
	w.t.Helper()
	for end := w.clock.Add(d); ; w.clock = w.clock.Add(every) {
		err = dog.Round(w.t.Context())
		if !w.clock.Before(end) {
			return err
		}
	}
}

// failed checks that a build has failed and has the line, once.
func (w *world) failed(build uint64, words ...string) {
	w.t.Helper()
	b := w.api.Build(build)
	n := 0
	for _, l := range b.Lines {
		if strings.HasPrefix(l.Message, watchdog.Words) {
			n++
			for _, word := range words {
				if !strings.Contains(l.Message, word) {
					w.t.Errorf("build %d: %q does not say %q", build, l.Message, word)
				}
			}
		}
	}
	if n != 1 || b.Status != "Failed" {
		w.t.Errorf("build %d is %s, and has the line %d times", build, b.Status, n)
	}
}

// untouched checks that nothing was written of builds.
func (w *world) untouched(builds ...uint64) {
	w.t.Helper()
	for _, id := range builds {
		if b := w.api.Build(id); b.Count > 0 || len(b.History) > 1 {
			w.t.Errorf("build %d is %v, and has %v", id, b.History, b.Lines)
		}
	}
}

// told returns what a watchdog answers at a path.
func told(t *testing.T, dog *watchdog.Watchdog, path string) (int, string) {
	t.Helper()
	s := httptest.NewServer(dog.Handler())
	defer s.Close()
	res, err := http.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// measures checks metrics.
func measures(t *testing.T, dog *watchdog.Watchdog, want ...string) {
	t.Helper()
	_, text := told(t, dog, "/metrics")
	for _, line := range want {
		if !strings.Contains(text, "\nwharf_watchdog_"+line+"\n") {
			t.Errorf("the metrics have no %q", line)
			for have := range strings.Lines(text) {
				if strings.HasPrefix(have, "wharf_watchdog_") {
					t.Log(have)
				}
			}
		}
	}
}
