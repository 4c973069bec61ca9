package aggregator_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/aggregator/sink/local"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/worker/journal"
)

// A build's lines, artifacts and states arrive, and its worker is released.
func TestRelay(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	early := w.add(1).start()
	early.print("before there is an aggregator", "", "\x1b[1mbold\x1b[0m")
	w.aggregator("one", nil)
	late := w.add(2).start()
	late.print("after")
	w.until(1, "relayed", func(b *wharfapitest.Build) bool { return b.Count == 3 && b.Status == "Running" })
	w.until(2, "relayed", func(b *wharfapitest.Build) bool { return b.Count == 1 })
	early.artifact("out/report.txt", "hello")
	early.artifact("report.txt", "")
	early.end(journal.Succeeded, "")
	b := early.ended("Completed")
	if len(b.Files) != 2 || b.Files[0].Name != "report.txt" || string(b.Files[0].Content) != "hello" || b.Files[1].Name != "stage-step-report.txt" {
		t.Errorf("the files are %+v", b.Files)
	}
	late.end(journal.Failed, "step stage/step exited with 1")
	late.ended("Failed", "wharf: the build is failed: step stage/step exited with 1")
}

// mischief makes every call fail now and then, in every way that wharf-api can.
func mischief(r *rand.Rand) func(wharfapitest.Call) wharfapitest.Fault {
	var mu sync.Mutex
	return func(c wharfapitest.Call) wharfapitest.Fault {
		mu.Lock()
		defer mu.Unlock()
		switch r.IntN(6) {
		case 0:
			return wharfapitest.Fault{Refuse: []int{500, 502, 503}[r.IntN(3)]}
		case 1:
			return wharfapitest.Fault{Lose: true}
		case 2:
			return wharfapitest.Fault{Status: []int{500, 502, 504}[r.IntN(3)]}
		case 3:
			return wharfapitest.Fault{Late: time.Duration(r.IntN(300)) * time.Millisecond}
		case 4:
			return wharfapitest.Fault{CutAfter: 1 + r.IntN(2000)}
		}
		return wharfapitest.Fault{}
	}
}

// Whatever wharf-api does, each line arrives once, and in order.
func TestFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t, wharfapitest.Options{Fault: mischief(rand.New(rand.NewPCG(seed, 0)))})
	w.aggregator("one", nil)
	var printing sync.WaitGroup
	var all []*fakeWorker
	for i := range 8 {
		f := w.add(uint64(i + 1)).start()
		all = append(all, f)
		printing.Go(func() {
			for range 20 {
				f.many(1 + rand.IntN(500))
				time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
			}
			for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
				f.artifact(name, name)
			}
			f.end(journal.Succeeded, "")
		})
	}
	printing.Wait()
	for _, f := range all {
		var names []string
		for _, file := range f.ended("Completed").Files {
			names = append(names, file.Name)
		}
		if !slices.Equal(names, []string{"a.txt", "b.txt", "c.txt"}) {
			t.Errorf("build %d has the files %q", f.build, names)
		}
	}
}

// Without wharf-api builds are kept here: one that was relayed, and one whose worker was killed.
func TestLocal(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	store, err := local.Open(t.TempDir(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(store.Handler())
	t.Cleanup(api.Close)
	w.aggregator("one", func(cfg *aggregator.Config, _ *wharfapi.Options) { cfg.Sink = store })
	good, bad := w.add(1).start(), w.add(2).start()
	good.many(3)
	good.artifact("a.txt", "a")
	good.end(journal.Succeeded, "")
	bad.many(2)
	bad.kill()
	if res, err := w.driver.Wait(t.Context(), good.task); err != nil || res.Code != 0 {
		t.Errorf("worker %s was not released: %v, %v", good.id, res, err)
	}
	w.leaves(2) // of the one that was released: a provisioner would remove them
	for path, want := range map[string]string{
		"/api/build/1": "Completed", "/api/build/1/log": "line 2 of its log", "/api/build/1/artifact": "a.txt",
		"/api/build/2": "Failed", "/api/build/2/log": "the build has failed",
	} {
		res, err := http.Get(api.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("GET %s: %s, %v; want %q", path, text, err, want)
		}
	}
}
