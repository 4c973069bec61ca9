package aggregator_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/server"
)

const (
	instance = "tests"
	patience = 3 * time.Minute
)

var key = []byte("a key of the tests alone")

// world is a runtime with workers, and a wharf-api. The workers are servers of journals that the test writes: what stands above the driver is real.
type world struct {
	t       testing.TB
	runtime *fake.Runtime
	driver  driver.Driver
	api     *wharfapitest.Server

	mu      sync.Mutex
	workers map[string]*fakeWorker
}

// fakeWorker is a worker that does what the test says.
type fakeWorker struct {
	w     *world
	id    string
	build uint64
	task  driver.TaskID
	dir   string

	volume driver.VolumeID

	mu      sync.Mutex
	journal *journal.Writer
	log     *journal.Log
	printed []string
	dead    chan struct{} // closed to kill the process
	code    int
}

func newWorld(t testing.TB, opts wharfapitest.Options) *world {
	t.Helper()
	w := &world{t: t, workers: map[string]*fakeWorker{}}
	w.runtime = fake.New(fake.Config{Programs: map[string]fake.Program{"": w.run}})
	w.driver = w.runtime.Open("workers")
	t.Cleanup(func() { _ = w.driver.Close() })
	var err error
	if w.api, err = wharfapitest.Start(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.api.Close)
	return w
}

// add makes a worker.
func (w *world) add(build uint64) *fakeWorker {
	w.t.Helper()
	w.api.Add(build)
	f := &fakeWorker{w: w, id: "build-" + strconv.FormatUint(build, 10), build: build, dir: filepath.Join(w.t.TempDir(), "results"), dead: make(chan struct{})}
	var err error
	if f.journal, err = journal.Create(f.dir, journal.Options{Build: f.id}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.journal.Abandon() })
	f.log = f.journal.Log("stage/step")
	f.journal.Append(journal.Event{Kind: journal.KindBuild, State: journal.Running})
	w.mu.Lock()
	w.workers[f.id] = f
	w.mu.Unlock()
	if f.volume, err = w.driver.CreateVolume(w.t.Context(), driver.VolumeSpec{Name: f.id}); err != nil {
		w.t.Fatal(err)
	}
	f.task, err = w.driver.Create(w.t.Context(), driver.TaskSpec{
		Name: f.id, Container: driver.Container{Image: "worker", Args: []string{f.id}},
		Labels: map[string]string{
			provisioner.LabelRole: provisioner.RoleWorker, provisioner.LabelWorker: f.id,
			"volume": string(f.volume), provisioner.LabelInstance: instance, provisioner.LabelBuild: strconv.FormatUint(build, 10),
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// start starts it.
func (f *fakeWorker) start() *fakeWorker {
	f.w.t.Helper()
	if err := f.w.driver.Start(f.w.t.Context(), f.task); err != nil {
		f.w.t.Fatal(err)
	}
	return f
}

// kill kills it: what it has kept is in its volume.
func (f *fakeWorker) kill() {
	f.w.t.Helper()
	f.log.Flush()
	f.journal.Fail(errors.New("killed"))
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	err := out.AddFS(os.DirFS(filepath.Dir(f.dir)))
	if err := errors.Join(err, out.Close(), f.w.driver.CopyIn(f.w.t.Context(), driver.CopyInOptions{Place: driver.Place{Volume: f.volume}, Path: "/", Tar: &buf})); err != nil {
		f.w.t.Fatal(err)
	}
	close(f.dead)
}

// run is the program of a worker: it serves its journal until that was taken.
func (w *world) run(ctx context.Context, p *fake.Proc) int {
	w.mu.Lock()
	f := w.workers[p.Args()[len(p.Args())-1]]
	w.mu.Unlock()
	s, err := server.New(server.Config{Build: f, Token: provisioner.Token(key, f.id)})
	if err != nil {
		w.t.Error(err)
		return 1
	}
	defer s.Close()
	l, err := p.Listen("127.0.0.1:" + strconv.Itoa(provisioner.Port))
	if err != nil {
		w.t.Error(err)
		return 1
	}
	go func() { _ = s.Serve(l) }()
	select {
	case <-s.Released():
		return f.code
	case <-f.dead:
		return 137
	case <-ctx.Done():
		return 1
	}
}

// ID, Results, Journal, Stop: it is what a server serves.
func (f *fakeWorker) ID() string               { return f.id }
func (f *fakeWorker) Results() string          { return f.dir }
func (f *fakeWorker) Journal() *journal.Writer { return f.journal }
func (f *fakeWorker) Stop(string, bool)        {}

// print prints lines.
func (f *fakeWorker) print(lines ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range lines {
		f.log.Write(time.Now(), "", "stdout", []byte(l), false)
	}
	f.printed = append(f.printed, lines...)
}

// many prints n lines that say where they are from.
func (f *fakeWorker) many(n int) {
	lines := make([]string, n)
	f.mu.Lock()
	first := len(f.printed)
	f.mu.Unlock()
	for i := range lines {
		lines[i] = fmt.Sprintf("build %d prints line %d of its log, as builds do", f.build, first+i)
	}
	f.print(lines...)
}

// artifact leaves a file.
func (f *fakeWorker) artifact(name, content string) {
	path := filepath.Join(f.dir, "artifacts", "stage", "step", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.w.t.Fatal(err)
	}
	f.journal.Append(journal.Event{Kind: journal.KindArtifact, Step: "stage/step", Name: name, Size: int64(len(content)), SHA256: "?"})
}

// end ends the build.
func (f *fakeWorker) end(state journal.State, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.Close()
	f.journal.Append(journal.Event{Kind: journal.KindStep, Step: "stage/step", Stage: "stage", State: state})
	f.journal.Append(journal.Event{Kind: journal.KindBuild, State: state, Reason: reason})
	if err := f.journal.Close(); err != nil {
		f.w.t.Error(err)
	}
}

// running is an aggregator that runs until stop is called.
type running struct {
	*aggregator.Aggregator
	stop func()
}

// aggregator runs one.
func (w *world) aggregator(name string, change func(*aggregator.Config, *wharfapi.Options)) *running {
	w.t.Helper()
	var text bytes.Buffer
	logger := hclog.New(&hclog.LoggerOptions{Name: name, Output: &text, Level: hclog.Debug, Mutex: &sync.Mutex{}})
	opts := wharfapi.Options{Timeout: 10 * time.Second, Settle: time.Second}
	cfg := aggregator.Config{Driver: w.driver, WorkerKey: key, Name: name, Log: logger}
	if change != nil {
		change(&cfg, &opts)
	}
	if cfg.Sink == nil {
		s, err := wharfapi.New(w.api.URL(), opts)
		if err != nil {
			w.t.Fatal(err)
		}
		cfg.Sink = s
	}
	a, err := aggregator.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := a.Run(ctx); err != nil {
			w.t.Errorf("aggregator %s: %v", name, err)
		}
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-ended
		_ = cfg.Sink.Close()
		if w.t.Failed() {
			w.t.Logf("%s", tail(text.String(), 3000))
		}
	})
	w.t.Cleanup(stop)
	return &running{a, stop}
}

// tail is the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// until waits until a build at wharf-api is as it should be.
func (w *world) until(build uint64, what string, is func(*wharfapitest.Build) bool) wharfapitest.Build {
	w.t.Helper()
	giveUp := make(chan struct{})
	t := time.AfterFunc(patience, func() { close(giveUp) })
	defer t.Stop()
	b, ok := w.api.Until(build, giveUp, is)
	if !ok {
		w.t.Fatalf("build %d is not %s: it is %s, after %v, with %d lines", build, what, b.Status, b.History, b.Count)
	}
	return b
}

// ended waits until a build has been reported to its end, and its worker was released, and checks that everything is there once.
func (f *fakeWorker) ended(status string, more ...string) wharfapitest.Build {
	f.w.t.Helper()
	f.w.until(f.build, status, func(b *wharfapitest.Build) bool { return b.Status == status })
	ctx, cancel := context.WithTimeout(f.w.t.Context(), patience)
	defer cancel()
	if res, err := f.w.driver.Wait(ctx, f.task); err != nil || res.Code != 0 {
		f.w.t.Errorf("worker %s was not released: %v, %v", f.id, res, err)
	}
	b := f.w.api.Build(f.build)
	f.same(b, more...)
	if want := []string{"Scheduling", "Running", status}; !slices.Equal(slices.Compact(slices.Clone(b.History)), want) {
		f.w.t.Errorf("build %d went through %v", f.build, b.History)
	}
	return b
}

// same checks that what is stored is what was printed.
func (f *fakeWorker) same(b wharfapitest.Build, more ...string) {
	f.w.t.Helper()
	want := append(slices.Clone(f.printed), more...)
	for i, l := range b.Lines {
		if i >= len(want) {
			f.w.t.Errorf("build %d has %d lines, and should have %d; line %d is %q", f.build, len(b.Lines), len(want), i, l.Message)
			return
		}
		if l.Message != want[i] {
			f.w.t.Errorf("build %d: line %d of %d (%d are right) is %q, and should be %q", f.build, i, len(b.Lines), len(want), l.Message, want[i])
			return
		}
	}
	if len(b.Lines) < len(want) {
		f.w.t.Errorf("build %d has %d lines, and should have %d", f.build, len(b.Lines), len(want))
	}
}
