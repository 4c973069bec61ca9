package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
)

// script is a tiny shell for the fake runtime: a line a command, no quoting.
func script(ctx context.Context, p *fake.Proc) int {
	args := p.Args()
	for line := range strings.SplitSeq(args[len(args)-1], "\n") {
		if code, done := command(ctx, p, strings.Fields(line)); done {
			return code
		}
	}
	return 0
}

func command(ctx context.Context, p *fake.Proc, f []string) (code int, done bool) {
	if len(f) == 0 {
		return 0, false
	}
	arg := strings.Join(f[1:], " ")
	switch f[0] {
	case "echo":
		_, _ = fmt.Fprintln(p.Stdout(), arg)
	case "warn":
		_, _ = fmt.Fprintln(p.Stderr(), arg)
	case "sleep": // so many seconds
		n, _ := strconv.Atoi(arg)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(n) * time.Second):
		}
	case "exit":
		code, _ = strconv.Atoi(arg)
		return code, true
	case "block":
		<-ctx.Done()
		return 1, true
	case "trap": // obeys TERM with a last word, and exits with 0
		_, _ = fmt.Fprintln(p.Stdout(), "trapping")
		for range p.Signals() {
			_, _ = fmt.Fprintln(p.Stdout(), "bye")
			return 0, true
		}
	case "ignore":
		for range p.Signals() {
		}
	case "env":
		for _, kv := range p.Environ() {
			if strings.HasPrefix(kv, arg+"=") {
				_, _ = fmt.Fprintln(p.Stdout(), kv)
			}
		}
	case "write":
		w, err := p.Create(f[1], 0o644)
		if err != nil {
			_, _ = fmt.Fprintln(p.Stderr(), err)
			return 1, true
		}
		_, _ = io.WriteString(w, strings.Join(f[2:], " "))
		_ = w.Close()
	case "mkdir":
		if err := p.Mkdir(arg, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return 1, true
		}
	case "cat":
		r, err := p.Open(arg)
		if err != nil {
			_, _ = fmt.Fprintln(p.Stderr(), err)
			return 1, true
		}
		text, _ := io.ReadAll(r)
		_, _ = fmt.Fprintln(p.Stdout(), string(text))
	}
	return 0, false
}

// inBubble runs a test on a clock of its own, and on one processor: when goroutines of a bubble look at timers' channels at
// once, the race detector crashes, see https://github.com/golang/go/issues/78156.
func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}

// bench is what a test works with.
type bench struct {
	t     *testing.T
	rt    *fake.Runtime
	d     *fake.Driver
	state *lease.Dir
	// stateDir is the directory of state.
	stateDir string

	mu     sync.Mutex
	events []Event
}

func newBench(t *testing.T, cfg fake.Config) *bench {
	t.Helper()
	cfg.Programs = map[string]fake.Program{"": script}
	dir := t.TempDir()
	state, err := lease.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, rt: fake.New(cfg), state: state, stateDir: dir}
	b.d = b.rt.Open("wharf")
	t.Cleanup(func() { _ = b.d.Close() })
	return b
}

func plan(t *testing.T, text string) *pipeline.Plan {
	t.Helper()
	def, err := pipeline.Parse(".wharf-ci.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := def.Plan(pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// steps makes a definition's step of a script, for tests that need no more.
func steps(stage string, scripts ...string) string {
	text := stage + ":\n"
	for i, s := range scripts {
		text += fmt.Sprintf("  s%d:\n    container:\n      image: img\n      cmds:\n", i)
		for _, line := range strings.Split(s, "; ") {
			text += "      - " + strconv.Quote(line) + "\n"
		}
	}
	return text
}

func (b *bench) config(p *pipeline.Plan) Config {
	return Config{Driver: b.d, Plan: p, State: b.state, Results: filepath.Join(b.t.TempDir(), "results"), Parallel: 4, Observe: b.observe}
}

func (b *bench) observe(events []Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, events...)
}

// run runs a build, and checks what is true after every build: nothing is left on the runtime, the lease is free, and what
// was observed is what was stored.
func (b *bench) run(cfg Config) Outcome {
	b.t.Helper()
	build, err := New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := build.Run(context.Background())
	if err != nil {
		b.t.Errorf("Run: %v", err)
	}
	b.clean(build)
	b.stored(cfg.Results)
	return out
}

func (b *bench) clean(build *Build) {
	b.t.Helper()
	left := b.rt.Left("wharf")
	left = slices.DeleteFunc(left, func(s string) bool { return strings.Contains(s, "cache-") })
	if len(left) > 0 {
		b.t.Errorf("left on the runtime: %q", left)
	}
	if held, err := b.state.Held(build.ID()); held || err != nil {
		b.t.Errorf("lease: held %v, %v", held, err)
	}
}

func (b *bench) stored(dir string) {
	b.t.Helper()
	n := 0
	for e, err := range journal.Read(dir) {
		if err != nil {
			b.t.Fatalf("journal: %v", err)
		}
		for n < len(b.events) && b.events[n].Seq == 0 {
			n++
		}
		if n == len(b.events) || b.events[n].Seq != e.Seq || string(b.events[n].Line) != string(e.Line) {
			b.t.Fatalf("entry %d was not observed", e.Seq)
		}
		n++
	}
}

// log returns the lines of a step.
func (b *bench) log(step string) []string {
	var lines []string
	for _, e := range b.events {
		if e.Kind == KindLog && e.Step == step {
			lines = append(lines, string(e.Line))
		}
	}
	return lines
}

// states returns the states that a step, a stage (of this name) or the build (the empty name) went through.
func (b *bench) states(kind Kind, name string) []State {
	var states []State
	for _, e := range b.events {
		if e.Kind == kind && (kind == KindStep && e.Step == name || kind == KindStage && e.Stage == name || kind == KindBuild) {
			states = append(states, e.State)
		}
	}
	return states
}

func (b *bench) last(kind Kind, name string) State {
	states := b.states(kind, name)
	if len(states) == 0 {
		return ""
	}
	return states[len(states)-1]
}

// reason returns the last reason of a step.
func (b *bench) reason(step string) string {
	for _, e := range slices.Backward(b.events) {
		if e.Kind == KindStep && e.Step == step {
			return e.Reason
		}
	}
	return ""
}

func (b *bench) warnings() []string {
	var list []string
	for _, e := range b.events {
		if e.Kind == KindWarning {
			list = append(list, e.Reason)
		}
	}
	return list
}

var errAway = driver.WithClass(errdefs.ErrUnavailable, "cannot connect to the daemon; is it running?")

func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
