package aggregator_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/server"
)

// benchEnv has the test's program be an aggregator, so that what it uses can be told from what workers and wharf-api use. Its value is a job in JSON.
const benchEnv = "WHARF_TEST_AGGREGATOR"

// job is what an aggregator of its own process is to do.
type job struct {
	API     string
	Workers map[string]string // address of each worker's API, by build
}

func TestMain(m *testing.M) {
	if text := os.Getenv(benchEnv); text != "" {
		os.Exit(work(text))
	}
	os.Exit(m.Run())
}

// addresses is a driver of workers that are reached by TCP.
type addresses struct {
	driver.Driver
	job job
}

func (a *addresses) List(context.Context, driver.ListOptions) (tasks []driver.Task, err error) {
	for build := range a.job.Workers {
		tasks = append(tasks, driver.Task{ID: driver.TaskID(build), State: driver.StateRunning, Labels: map[string]string{
			provisioner.LabelRole: provisioner.RoleWorker, provisioner.LabelWorker: "build-" + build, provisioner.LabelBuild: build,
		}})
	}
	return tasks, nil
}

func (a *addresses) ListVolumes(context.Context, driver.ListOptions) ([]driver.Volume, error) {
	return nil, nil
}

func (a *addresses) Events(ctx context.Context, _ driver.ListOptions, _ func(driver.Event) error) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (a *addresses) Dial(ctx context.Context, id driver.TaskID, _ int) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", a.job.Workers[string(id)])
}

// usage is what a process has used.
type usage struct {
	CPU time.Duration
	RSS int64 // bytes, now
}

func used() (u usage) {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	text, _ := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		u.RSS = pages * int64(os.Getpagesize())
	}
	return u
}

// work is an aggregator that tells what it has used whenever it reads a line.
func work(text string) int {
	a := &addresses{}
	if err := json.Unmarshal([]byte(text), &a.job); err != nil {
		return 1
	}
	s, err := wharfapi.New(a.job.API, wharfapi.Options{})
	if err != nil {
		return 1
	}
	agg, err := aggregator.New(aggregator.Config{Driver: a, Sink: s, WorkerKey: key})
	if err != nil {
		return 1
	}
	go func() { _ = agg.Run(context.Background()) }()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := json.NewEncoder(os.Stdout).Encode(used()); err != nil {
			return 1
		}
	}
	return 0
}

// child is an aggregator in a process of its own.
type child struct {
	b   *testing.B
	ask *bufio.Writer
	say *json.Decoder
}

func (c *child) used() (u usage) {
	_, _ = c.ask.WriteString("\n")
	if err := c.ask.Flush(); err != nil {
		c.b.Fatal(err)
	}
	if err := c.say.Decode(&u); err != nil {
		c.b.Fatal(err)
	}
	return u
}

func spawn(b *testing.B, j job) *child {
	b.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &child{b, bufio.NewWriter(in), json.NewDecoder(out)}
}

// benched is a worker that a benchmark writes.
type benched struct {
	id, dir string
	journal *journal.Writer
	log     *journal.Log
}

func (w *benched) ID() string               { return w.id }
func (w *benched) Results() string          { return w.dir }
func (w *benched) Journal() *journal.Writer { return w.journal }
func (w *benched) Stop(string, bool)        {}

// worker serves a journal at an address.
func benchWorker(b *testing.B, api *wharfapitest.Server, j *job, build int) *benched {
	b.Helper()
	api.Add(uint64(build))
	w := &benched{id: fmt.Sprint("build-", build), dir: filepath.Join(b.TempDir(), "results")}
	var err error
	if w.journal, err = journal.Create(w.dir, journal.Options{Build: w.id}); err != nil {
		b.Fatal(err)
	}
	w.journal.Append(journal.Event{Kind: journal.KindBuild, State: journal.Running})
	w.log = w.journal.Log("stage/step")
	s, err := server.New(server.Config{Build: w, Token: provisioner.Token(key, w.id)})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { s.Close(); _ = w.journal.Abandon() })
	if j.Workers == nil {
		j.Workers = map[string]string{}
	}
	j.Workers[fmt.Sprint(build)] = l.Addr().String()
	return w
}

// wait waits until a build has so many lines. To be told of each would cost more than all else.
func wait(b *testing.B, api *wharfapitest.Server, build uint64, lines int) {
	b.Helper()
	for began := time.Now(); api.Count(build) < lines; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 5*time.Minute {
			b.Fatalf("%d lines of %d have come", api.Count(build), lines)
		}
	}
}

// BenchmarkRelay relays lines of 100 bytes of a build that has printed them already. lines/cpu-s are those for each second of processor time of the aggregator alone.
func BenchmarkRelay(b *testing.B) {
	const lines = 1_000_000
	text := []byte(strings.Repeat("0123456789", 10))
	for range b.N {
		api, err := wharfapitest.Start(wharfapitest.Options{Forget: true})
		if err != nil {
			b.Fatal(err)
		}
		j := job{API: api.URL()}
		w := benchWorker(b, api, &j, 1)
		for range lines {
			w.log.Write(time.Now(), "", "stdout", text, false)
		}
		w.log.Flush()
		began := time.Now()
		c := spawn(b, j)
		wait(b, api, 1, lines)
		took, u := time.Since(began), c.used()
		b.ReportMetric(lines/u.CPU.Seconds(), "lines/cpu-s")
		b.ReportMetric(lines/took.Seconds(), "lines/s")
		b.ReportMetric(float64(u.RSS)/(1<<20), "MiB")
		api.Close()
	}
}

// BenchmarkIdle has an aggregator hold two hundred workers that print nothing.
func BenchmarkIdle(b *testing.B) {
	const workers, over = 200, 20 * time.Second
	for range b.N {
		api, err := wharfapitest.Start(wharfapitest.Options{})
		if err != nil {
			b.Fatal(err)
		}
		j := job{API: api.URL()}
		for i := range workers {
			w := benchWorker(b, api, &j, i+1)
			w.log.Write(time.Now(), "", "stdout", []byte("one line"), false)
		}
		c := spawn(b, j)
		for i := range workers {
			wait(b, api, uint64(i+1), 1)
		}
		t := time.NewTimer(over)
		before := c.used()
		<-t.C
		after := c.used()
		b.ReportMetric(100*(after.CPU-before.CPU).Seconds()/over.Seconds(), "%cpu")
		b.ReportMetric(float64(after.RSS)/(1<<20), "MiB")
		api.Close()
	}
}

// BenchmarkLatency prints a thousand lines a second, and says how long each takes from the journal to wharf-api.
func BenchmarkLatency(b *testing.B) {
	const lines = 10_000
	for range b.N {
		api, err := wharfapitest.Start(wharfapitest.Options{})
		if err != nil {
			b.Fatal(err)
		}
		j := job{API: api.URL()}
		w := benchWorker(b, api, &j, 1)
		spawn(b, j)
		for tick, i := time.NewTicker(time.Millisecond), 0; i < lines; i++ {
			<-tick.C
			w.log.Write(time.Now(), "", "stdout", []byte("a line"), false)
		}
		wait(b, api, 1, lines)
		got := api.Build(1)
		var took []time.Duration
		for i, l := range got.Lines {
			took = append(took, got.Stored[i].Sub(l.Time))
		}
		took = took[len(took)/2:] // until it has begun
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
		api.Close()
	}
}
