package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
)

// mortal is the driver of a process that dies at one of its calls: before the runtime has seen it, or after, so that the answer is not
// seen any more. What the process has written by then is set aside, and nothing that it does afterwards reaches the runtime.
type mortal struct {
	*fake.Driver
	at       int    // the number of the call, from 1
	after    bool   // it has reached the runtime
	setAside func() // copies what has been written

	mu    sync.Mutex
	calls int
	dead  bool
	mute  atomic.Bool   // calls of Stop never arrive
	gone  chan struct{} // closed when what was written has been set aside
}

func newMortal(d *fake.Driver, at int, after bool, setAside func()) *mortal {
	return &mortal{Driver: d, at: at, after: after, setAside: setAside, gone: make(chan struct{})}
}

var errDead = fmt.Errorf("the process is dead: %w", errdefs.ErrUnavailable)

// call lets a call through to the runtime, and says whether its caller sees the answer.
func (m *mortal) call(f func()) bool {
	m.mu.Lock()
	m.calls++
	last := m.calls == m.at
	m.mu.Unlock()
	if last && !m.after {
		m.die()
	}
	if !m.lives() {
		return false
	}
	f()
	if last && m.after {
		m.die()
	}
	return m.lives()
}

// die ends the process.
func (m *mortal) die() {
	m.mu.Lock()
	first := !m.dead
	m.dead = true
	m.mu.Unlock()
	if first {
		m.setAside()
		close(m.gone)
	}
}

// lives reports whether the process does. A dead one does not go on before what it wrote was set aside.
func (m *mortal) lives() bool {
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead {
		<-m.gone
	}
	return !dead
}

func mortalCall[T any](m *mortal, f func() (T, error)) (out T, err error) {
	if !m.call(func() { out, err = f() }) {
		if c, ok := any(out).(io.Closer); ok && err == nil {
			_ = c.Close()
		}
		var none T
		return none, errDead
	}
	return out, err
}

func (m *mortal) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	return mortalCall(m, func() (driver.TaskID, error) { return m.Driver.Create(ctx, spec) })
}

func (m *mortal) Start(ctx context.Context, id driver.TaskID) error {
	_, err := mortalCall(m, func() (int, error) { return 0, m.Driver.Start(ctx, id) })
	return err
}

func (m *mortal) Stop(ctx context.Context, id driver.TaskID, opts driver.StopOptions) error {
	if m.mute.Load() {
		<-m.gone
	}
	_, err := mortalCall(m, func() (int, error) { return 0, m.Driver.Stop(ctx, id, opts) })
	return err
}

func (m *mortal) Exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	if m.mute.Load() {
		<-m.gone
	}
	return mortalCall(m, func() (driver.Result, error) { return m.Driver.Exec(ctx, id, spec) })
}

func (m *mortal) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	return mortalCall(m, func() (driver.Result, error) { return m.Driver.Wait(ctx, id) })
}

func (m *mortal) Remove(ctx context.Context, id driver.TaskID) error {
	_, err := mortalCall(m, func() (int, error) { return 0, m.Driver.Remove(ctx, id) })
	return err
}

func (m *mortal) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	return mortalCall(m, func() (driver.VolumeID, error) { return m.Driver.CreateVolume(ctx, spec) })
}

func (m *mortal) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	_, err := mortalCall(m, func() (int, error) { return 0, m.Driver.RemoveVolume(ctx, id) })
	return err
}

func (m *mortal) CreateSandbox(ctx context.Context, spec driver.SandboxSpec) (driver.SandboxID, error) {
	return mortalCall(m, func() (driver.SandboxID, error) { return m.Driver.CreateSandbox(ctx, spec) })
}

func (m *mortal) RemoveSandbox(ctx context.Context, id driver.SandboxID) error {
	_, err := mortalCall(m, func() (int, error) { return 0, m.Driver.RemoveSandbox(ctx, id) })
	return err
}

func (m *mortal) CopyIn(ctx context.Context, opts driver.CopyInOptions) error {
	_, err := mortalCall(m, func() (int, error) { return 0, m.Driver.CopyIn(ctx, opts) })
	return err
}

func (m *mortal) CopyOut(ctx context.Context, opts driver.CopyOutOptions) (io.ReadCloser, error) {
	return mortalCall(m, func() (io.ReadCloser, error) { return m.Driver.CopyOut(ctx, opts) })
}

func (m *mortal) Logs(ctx context.Context, id driver.TaskID, opts driver.LogOptions) (driver.LogReader, error) {
	r, err := mortalCall(m, func() (driver.LogReader, error) { return m.Driver.Logs(ctx, id, opts) })
	if err != nil {
		return nil, err
	}
	return &mortalLog{r, m}, nil
}

type mortalLog struct {
	driver.LogReader
	m *mortal
}

func (r *mortalLog) Next() (driver.LogEntry, error) {
	return mortalCall(r.m, r.LogReader.Next)
}

// tried counts how often each step's process was begun.
type tried struct {
	mu    sync.Mutex
	begun map[string]int
}

// counting is a program that runs a script whose first line names it.
func (c *tried) counting(ctx context.Context, p *fake.Proc) int {
	args := p.Args()
	if name, _, _ := strings.Cut(args[len(args)-1], "\n"); name != "block" {
		c.mu.Lock()
		c.begun[name]++
		c.mu.Unlock()
	}
	return script(ctx, p)
}

// A build of everything that a step can be: in turn and at once, with services, that fails, is tried again, leaves files.
const resumable = `
one:
  first:
    container:
      image: img
      cmds: ["echo first", "echo 1", "sleep 2", "echo 2", "warn 3", "write /workspace/out 1234"]
      artifacts: [out, none]
  second:
    container:
      image: img
      cmds: ["echo second", "sleep 1", "warn oh", "exit 0"]
      services:
        db: {image: db, cmds: ["block"]}
two:
  again:
    container:
      image: img
      cmds: ["echo again", "cat /workspace/out", "exit 3"]
      retry: {count: 1, on: [failure]}
  beside:
    container: {image: img, cmds: ["echo beside", "sleep 3", "echo end"]}
three:
  never: {container: {image: img, cmds: ["echo never"]}}
four:
  run-if: fail
  sorry: {container: {image: img, cmds: ["echo sorry"]}}
`

// death is the call of a process at which it dies, and whether that call is done.
type death struct {
	at    int
	after bool
}

// TestReattach lets the process of a build die at each of its calls to the runtime, and has another go on with the build; and then
// three die, one after another.
func TestReattach(t *testing.T) {
	var want []string
	inBubble(t, func(t *testing.T) { want, _ = dies(t) })
	if len(want) < 20 || t.Failed() {
		t.Fatalf("the build tells only:\n%s", strings.Join(want, "\n"))
	}
	try := func(deaths ...death) (died int) {
		inBubble(t, func(t *testing.T) {
			var got []string
			got, died = dies(t, deaths...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d of the deaths %v (-want +got):\n%s", died, deaths, diff)
			}
		})
		if t.Failed() {
			t.FailNow()
		}
		return died
	}
	for _, after := range []bool{false, true} {
		for at := 1; try(death{at, after}) > 0; at++ {
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var deaths []death
		for range 3 {
			deaths = append(deaths, death{1 + r.IntN(20), r.IntN(2) == 0})
		}
		try(deaths...)
	}
}

// dies runs the build, whose process dies, and goes on with it in others, all but the last of which die too. It returns what the journal
// tells, and how many have died.
func dies(t *testing.T, deaths ...death) (told []string, died int) {
	b := newBench(t, fake.Config{})
	count := &tried{begun: map[string]int{}}
	b.rt = fake.New(fake.Config{Programs: map[string]fake.Program{"": count.counting}})
	b.d = b.rt.Open("wharf")
	cfg := b.config(plan(t, resumable))
	observe := cfg.Observe
	cfg.ID, cfg.Resume, cfg.Observe = "build", true, nil
	cfg.Repository = t.TempDir()
	if err := os.WriteFile(filepath.Join(cfg.Repository, "file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range deaths {
		aside, stateDir := t.TempDir(), b.stateDir
		m := newMortal(b.rt.Open("wharf"), d.at, d.after, func() { b.setAside(cfg, stateDir, aside) })
		defer m.Driver.Close()
		cfg.Driver = m
		ended := b.begin(cfg)
		defer func() { <-ended }()
		select {
		case <-ended:
			return tells(t, cfg.Results), died
		case <-m.gone:
		}
		died++
		time.Sleep(time.Duration(d.at%3) * 1500 * time.Millisecond)
		cfg = b.reborn(cfg, aside)
	}
	cfg.Driver, cfg.Observe = b.d, observe
	build, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := build.Run(context.Background()); err != nil || out.State != Failed || !strings.Contains(out.Reason, "two/again: exited with code 3") {
		t.Errorf("after the deaths %v: outcome %+v, %v", deaths, out, err)
	}
	b.clean(build)
	if diff := cmp.Diff(map[string]int{"echo first": 1, "echo second": 1, "echo again": 2, "echo beside": 1, "echo sorry": 1}, count.begun); diff != "" {
		t.Errorf("after the deaths %v: steps that ran (-want +got):\n%s", deaths, diff)
	}
	return tells(t, cfg.Results), died
}

// begin runs a build in the background.
func (b *bench) begin(cfg Config) (ended chan struct{}) {
	b.t.Helper()
	build, err := New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = build.Run(context.Background())
	}()
	return ended
}

// setAside copies what a process has written.
func (b *bench) setAside(cfg Config, state, dir string) {
	b.t.Helper()
	for name, from := range map[string]string{"results": cfg.Results, "state": state} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(from)); err != nil {
			b.t.Error(err)
		}
	}
}

// reborn is the configuration of a process that goes on with what was set aside.
func (b *bench) reborn(cfg Config, aside string) Config {
	b.t.Helper()
	state, err := lease.Open(filepath.Join(aside, "state"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.stateDir = filepath.Join(aside, "state")
	b.state, cfg.State, cfg.Results = state, state, filepath.Join(aside, "results")
	return cfg
}

// tells is what a journal tells, without times and without what differs from run to run, sorted.
func tells(t *testing.T, dir string) []string {
	t.Helper()
	lines := map[string][]string{}
	var all []string
	seq := uint64(0)
	for e, err := range journal.Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if seq++; e.Seq != seq {
			t.Errorf("entry %d has the number %d", seq, e.Seq)
		}
		switch {
		case e.Kind == KindLog:
			key := e.Step + " " + e.Stream
			lines[key] = append(lines[key], string(e.Line))
		case e.Kind == KindWarning && strings.Contains(e.Reason, "another goes on"), e.State == Preparing:
		default:
			result := ""
			if e.Result != nil {
				result = e.Result.String()
			}
			all = append(all, fmt.Sprintf("%s %s %s %s %d %q %s %s", e.Kind, e.Stage, e.Step, e.State, e.Attempt, e.Reason, result, e.Name))
		}
	}
	for key, of := range lines {
		all = append(all, key+": "+strings.Join(of, ", "))
	}
	slices.Sort(all)
	return all
}

// doubtful is the driver of a process that does not hear what became of the first start.
type doubtful struct {
	*mortal
	heard *atomic.Bool
}

func (d *doubtful) Start(ctx context.Context, id driver.TaskID) error {
	if err := d.mortal.Start(ctx, id); err != nil || d.heard.Swap(true) {
		return err
	}
	return &driver.Error{Op: "start", Err: errAway}
}

// An attempt of which nobody knows how it ended is removed before the next one; a process that dies just then has not forgotten why it is not there.
func TestReattachWhileTryingAgain(t *testing.T) {
	text := "a:\n  s: {container: {image: img, cmds: [sleep 1, echo 1], retry: {count: 1, on: [infrastructure]}}}\n"
	dies := func(t *testing.T, at int, after bool) (died bool) {
		b := newBench(t, fake.Config{})
		cfg := b.config(plan(t, text))
		observe, aside, heard, before := cfg.Observe, t.TempDir(), &atomic.Bool{}, b.stateDir
		cfg.Resume, cfg.Observe = true, nil
		m := newMortal(b.rt.Open("wharf"), at, after, func() { b.setAside(cfg, before, aside) })
		defer m.Driver.Close()
		cfg.Driver = &doubtful{m, heard}
		ended := b.begin(cfg)
		defer func() { <-ended }()
		select {
		case <-ended:
			return false
		case <-m.gone:
		}
		cfg = b.reborn(cfg, aside)
		cfg.Driver, cfg.Observe = b.d, observe
		build, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := build.Run(context.Background()); err != nil || out.State != Succeeded {
			t.Errorf("dead at call %d (after it: %v): outcome %+v, %v", at, after, out, err)
		}
		b.clean(build)
		return true
	}
	for _, after := range []bool{false, true} {
		for at, died := 1, true; died && !t.Failed(); at++ {
			inBubble(t, func(t *testing.T) { died = dies(t, at, after) })
		}
	}
}

// dying is a build that runs until its process is let die.
type dying struct {
	*bench
	cfg    Config
	build  *Build
	aside  string
	m      *mortal
	ended  chan struct{}
	listen func([]Event)
}

// newDying begins a build. Its process dies when die is called.
func newDying(t *testing.T, text string, change func(*Config)) *dying {
	t.Helper()
	b := newBench(t, fake.Config{})
	d := &dying{bench: b, aside: t.TempDir(), ended: make(chan struct{})}
	d.cfg = b.config(plan(t, text))
	if change != nil {
		change(&d.cfg)
	}
	d.m = newMortal(b.rt.Open("wharf"), -1, false, func() { b.setAside(d.cfg, b.stateDir, d.aside) })
	d.listen = d.cfg.Observe
	d.cfg.Resume, d.cfg.Driver, d.cfg.Observe = true, d.m, nil
	var err error
	if d.build, err = New(d.cfg); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		_, _ = d.build.Run(context.Background())
	}()
	return d
}

// goOn lets the process die, and goes on with the build.
func (d *dying) goOn() (Outcome, error) {
	d.t.Helper()
	d.m.die()
	d.cfg = d.reborn(d.cfg, d.aside)
	d.cfg.Driver, d.cfg.Observe = d.d, d.listen
	build, err := New(d.cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := build.Run(context.Background())
	if err == nil {
		d.clean(build)
	}
	return out, err
}

// goesWell goes on with the build once more, which succeeds, and whose step has printed each of these lines once.
func (d *dying) goesWell(lines []string) {
	d.t.Helper()
	d.events = nil
	if out := d.run(d.cfg); out.State != Succeeded {
		d.t.Errorf("the second time: outcome %+v", out)
	}
	if diff := cmp.Diff(lines, d.log("a--s0")); diff != "" {
		d.t.Error(diff)
	}
}

func (d *dying) close() {
	<-d.ended
	_ = d.m.Driver.Close()
}

// tasks are those that there are.
func (d *dying) tasks() []driver.Task {
	d.t.Helper()
	tasks, err := d.d.List(context.Background(), driver.ListOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	return tasks
}

// A build that was being stopped goes on with that: what runs gets its time of grace, and its last words are kept.
func TestReattachStopped(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDying(t, steps("a", "echo 1; trap", "echo 2; ignore")+steps("b", "echo never"), nil)
		defer d.close()
		time.Sleep(time.Second)
		d.m.mute.Store(true) // Stop is on its way, and never arrives
		d.build.Stop("enough", false)
		time.Sleep(time.Second)
		out, err := d.goOn()
		if out != (Outcome{Cancelled, "enough"}) || err != nil {
			t.Errorf("outcome %+v, %v", out, err)
		}
		got := []State{d.last(KindStep, "a--s0"), d.last(KindStep, "a--s1"), d.last(KindStep, "b--s0"), d.last(KindStage, "a")}
		if diff := cmp.Diff([]State{Cancelled, Cancelled, Skipped, Cancelled}, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"1", "trapping", "bye"}, d.log("a--s0")); diff != "" {
			t.Error(diff)
		}
	})
}

// A step that was over its time-out is no success, whatever it ends with.
func TestReattachOverdue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDying(t, "a:\n  s: {container: {image: img, cmds: [sleep 3600], timeout: 1m}}\n", nil)
		defer d.close()
		time.Sleep(time.Second)
		d.m.die()
		time.Sleep(2 * time.Hour)
		out, err := d.goOn()
		if out.State != Failed || !strings.Contains(out.Reason, "took longer than its time-out of 1m0s") || err != nil {
			t.Errorf("outcome %+v, %v", out, err)
		}
	})
}

// Trouble with the runtime while a build is gone on with changes nothing: it can be tried again.
func TestReattachLater(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDying(t, steps("a", "echo 1; sleep 60; echo 2"), nil)
		defer d.close()
		time.Sleep(time.Second)
		d.m.die()
		d.d.Inject(fake.Fault{Op: "list", Err: errAway, Times: 1})
		if out, err := d.goOn(); !errors.Is(err, ErrNotResumed) || len(d.tasks()) != 1 {
			t.Errorf("the first time: outcome %+v, %v, %d tasks", out, err, len(d.tasks()))
		}
		d.d.Inject(fake.Fault{Op: "logs", Err: errAway, Times: 2})
		d.goesWell([]string{"1", "2"})
	})
}

// A disk that is full when a build is to be gone on with changes nothing either.
func TestReattachOnFullDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDying(t, steps("a", "echo 1; sleep 60; echo 2"), nil)
		defer d.close()
		time.Sleep(time.Second)
		d.m.die()
		d.cfg.Quota = 1
		if out, err := d.goOn(); !errors.Is(err, ErrNotResumed) || len(d.tasks()) != 1 {
			t.Errorf("the first time: outcome %+v, %v, %d tasks", out, err, len(d.tasks()))
		}
		d.cfg.Quota = 0
		d.goesWell([]string{"1", "2"})
	})
}

// A workspace that was removed is not made anew, empty.
func TestReattachWithoutWorkspace(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDying(t, steps("a", "echo 1; block")+strings.Replace(steps("b", "echo 2"), "b:\n", "b:\n  run-if: fail\n", 1), nil)
		defer d.close()
		time.Sleep(time.Second)
		d.m.die()
		volumes, err := d.d.ListVolumes(context.Background(), driver.ListOptions{})
		if err != nil || len(volumes) != 1 {
			t.Fatal(volumes, err)
		}
		for _, task := range d.tasks() {
			_ = d.rt.Remove(task.ID)
		}
		if err := d.d.RemoveVolume(context.Background(), volumes[0].ID); err != nil {
			t.Fatal(err)
		}
		out, err := d.goOn()
		var why string
		for _, e := range d.events {
			if e.Kind == KindStep && e.Step == "b--s0" {
				why = e.Reason
			}
		}
		if out.State != Errored || !strings.Contains(why, "workspace was removed") || err != nil {
			t.Errorf("outcome %+v, %v; the step that needs it: %s", out, err, why)
		}
	})
}

// What was removed behind the back of a process that is dead is lost: it is not run again, and no success.
func TestReattachLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDying(t, steps("a", "echo 1; block"), nil)
		defer d.close()
		time.Sleep(time.Second)
		d.m.die()
		tasks := d.tasks()
		if len(tasks) != 1 {
			t.Fatal(tasks)
		}
		if err := d.rt.Remove(tasks[0].ID); err != nil {
			t.Fatal(err)
		}
		out, err := d.goOn()
		if out.State != Errored || !strings.Contains(out.Reason, errGone.Error()) || err != nil {
			t.Errorf("outcome %+v, %v", out, err)
		}
	})
}

// A directory of another build, and a plan that has changed, are refused.
func TestResumeRefuses(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, steps("a", "echo 1")))
	cfg.Resume = true
	b.run(cfg)
	other := cfg
	other.ID = "other"
	if _, err := New(other); err == nil || !strings.Contains(err.Error(), "not other") {
		t.Errorf("another build's directory: %v", err)
	}
	if _, err := New(cfg); err != nil {
		t.Errorf("the same build: %v", err)
	}
}
