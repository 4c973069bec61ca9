package provisioner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/giturl"
	"github.com/wharfci/wharf/provisioner/report"
)

const commit = "0123456789012345678901234567890123456789"

// yard is a runtime in memory whose workers do what a test says.
type yard struct {
	*fake.Runtime
	mu      sync.Mutex
	ran     map[string]int // how often the main container of a worker ran
	running int
	most    int
	// the same for each project
	projects      map[string]int
	mostOfProject int
	leave         sync.Map // by ID: counts a worker as one that does not run any more
	// build is what a worker does; nil succeeds at once.
	build func(ctx context.Context, p *fake.Proc, id string) int
	clone func(ctx context.Context, p *fake.Proc) int
}

func newYard() *yard {
	y := &yard{ran: map[string]int{}, projects: map[string]int{}}
	y.Runtime = fake.New(fake.Config{Programs: map[string]fake.Program{"worker": y.wharf}, Images: map[string]fake.Image{"worker": {Layers: nil}}})
	return y
}

func (y *yard) wharf(ctx context.Context, p *fake.Proc) int {
	switch p.Args()[1] {
	case "clone":
		report.Write(p.Stdout(), report.Line{State: report.Cloning})
		if y.clone != nil {
			if code := y.clone(ctx, p); code != 0 {
				return code
			}
		}
		report.Write(p.Stdout(), report.Line{State: report.Cloned, Commit: commit})
		return 0
	case "worker":
		p.Signals() // from now on
		order := ordered(p)
		id := order.Worker
		y.mu.Lock()
		y.ran[id]++
		y.running++
		y.most = max(y.most, y.running)
		y.projects[order.Project]++
		y.mostOfProject = max(y.mostOfProject, y.projects[order.Project])
		y.mu.Unlock()
		leave := sync.OnceFunc(func() {
			y.mu.Lock()
			y.running--
			y.projects[order.Project]--
			y.mu.Unlock()
		})
		y.leave.Store(id, leave)
		defer leave()
		report.Write(p.Stdout(), report.Line{State: report.Running})
		if y.build != nil {
			return y.build(ctx, p, id)
		}
		report.Write(p.Stdout(), report.Line{State: report.Succeeded})
		return 0
	}
	return 2
}

// ordered returns what a worker is told.
func ordered(p *fake.Proc) (order provisioner.Order) {
	f, err := p.Open("/run/wharf/order.json")
	if err == nil {
		defer f.Close()
		err = json.NewDecoder(f).Decode(&order)
	}
	if err != nil {
		order.Worker = err.Error()
	}
	return order
}

// untilTold ends when somebody stops the worker, as cancelled.
func untilTold(ctx context.Context, p *fake.Proc, _ string) int {
	select {
	case <-p.Signals():
		report.Write(p.Stdout(), report.Line{State: report.Cancelled, Reason: "terminated"})
		return 130
	case <-ctx.Done():
		return 137
	}
}

// open runs a provisioner on the yard until the test ends.
func (y *yard) open(t *testing.T, change func(*provisioner.Config)) *provisioner.Provisioner {
	t.Helper()
	p, _ := y.opened(t, change)
	return p
}

func (y *yard) opened(t *testing.T, change func(*provisioner.Config)) (*provisioner.Provisioner, *fake.Driver) {
	t.Helper()
	d, builds := y.Open("workers"), y.Open("builds")
	cfg := provisioner.Config{Driver: d, Builds: builds, Image: "worker", WorkerKey: []byte("0123456789abcdef")}
	if change != nil {
		change(&cfg)
	}
	p, err := provisioner.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		d.Close()
		builds.Close()
	})
	return p, d
}

func trigger(build uint64) provisioner.Trigger {
	u, err := giturl.Parse("https://git.example.com/group/name.git")
	if err != nil {
		panic(err)
	}
	return provisioner.Trigger{Build: build, Instance: "test", Group: "group", Name: "name", ProjectID: 7, URL: u, Branch: "main", Credential: "secret-token"}
}

// ask triggers a build.
func ask(t *testing.T, p *provisioner.Provisioner, tr provisioner.Trigger) provisioner.Worker {
	t.Helper()
	w, _, err := p.Trigger(t.Context(), tr)
	if err != nil {
		t.Fatalf("trigger: %v", err)
	}
	return w
}

// until waits for a worker to be in one of the states.
func until(t *testing.T, p *provisioner.Provisioner, id string, states ...provisioner.State) provisioner.Worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var last provisioner.Worker
	for w := range p.Watch(ctx) {
		if w.ID != id {
			continue
		}
		if last = w; slices.Contains(states, w.State) {
			return w
		}
	}
	t.Fatalf("worker %s did not come to %v; it is %+v", id, states, last)
	return last
}

// empty wants nothing to be left.
func (y *yard) empty(t *testing.T) {
	t.Helper()
	for _, owner := range []string{"workers", "builds"} {
		if left := y.Left(owner); len(left) > 0 {
			t.Errorf("of %s there is left: %v", owner, left)
		}
	}
}

func TestLife(t *testing.T) {
	y := newYard()
	p := y.open(t, nil)
	w := ask(t, p, trigger(12))
	got := until(t, p, w.ID, provisioner.Succeeded)
	var states []string
	for _, c := range got.History {
		states = append(states, string(c.State))
	}
	if s := strings.Join(states, " "); !strings.HasPrefix(s, "queued ") || !strings.HasSuffix(s, " running succeeded") {
		t.Errorf("the states were %s", s)
	}
	if got.Commit != commit || got.Build != 12 || got.Instance != "test" || got.Project != (provisioner.Project{ID: 7, Group: "group", Name: "name"}) || got.Branch != "main" || got.Stage != "ALL" ||
		got.URL != "https://git.example.com/group/name.git" || got.Started == nil || got.Ended == nil {
		t.Errorf("the worker is %+v", got)
	}
	if err := p.Delete(t.Context(), w.ID); err != nil {
		t.Error(err)
	}
	y.eventually(t)
}

// eventually wants nothing to be left, as soon as the queue has given back its slots.
func (y *yard) eventually(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && len(y.Left("workers")) > 0; time.Sleep(5 * time.Millisecond) {
	}
	y.empty(t)
}

// TestEnds sees how each way in which a worker ends is told.
func TestEnds(t *testing.T) {
	said := func(s report.State, reason string, code int) func(context.Context, *fake.Proc, string) int {
		return func(_ context.Context, p *fake.Proc, _ string) int {
			report.Write(p.Stdout(), report.Line{State: s, Reason: reason})
			return code
		}
	}
	for name, c := range map[string]struct {
		build  func(context.Context, *fake.Proc, string) int
		clone  func(context.Context, *fake.Proc) int
		state  provisioner.State
		cause  string // in the metrics
		reason string
	}{
		"failed":    {build: said(report.Failed, "test/unit: exited with code 1", 1), state: provisioner.Failed, cause: "build", reason: "test/unit: exited with code 1"},
		"errored":   {build: said(report.Errored, "the runtime went away", 3), state: provisioner.Failed, cause: "error", reason: "the runtime went away"},
		"cancelled": {build: said(report.Cancelled, "someone did it", 130), state: provisioner.Cancelled, reason: "someone did it"},
		"no report": {build: func(_ context.Context, p *fake.Proc, _ string) int {
			fmt.Fprintln(p.Stderr(), "wharf: there is no .wharf-ci.yml")
			return 2
		}, state: provisioner.Failed, cause: "worker", reason: "the worker exited with code 2: wharf: there is no .wharf-ci.yml"},
		"killed": {build: func(_ context.Context, p *fake.Proc, _ string) int { p.Kill(); return 0 }, state: provisioner.Lost, cause: "signaled", reason: "killed by signal 9 (KILL)"},
		"no memory": {build: func(_ context.Context, p *fake.Proc, _ string) int {
			p.Eat(1 << 40)
			return 0
		}, state: provisioner.Lost, cause: "out_of_memory", reason: "out of memory"},
		"clone failed": {clone: func(_ context.Context, p *fake.Proc) int {
			fmt.Fprintln(p.Stderr(), "wharf: there is no branch \"main\"")
			return 3
		}, state: provisioner.Failed, cause: "clone", reason: "the repository could not be cloned: wharf: there is no branch \"main\""},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard()
			y.build, y.clone = c.build, c.clone
			p := y.open(t, func(cfg *provisioner.Config) { cfg.Resources.Memory = 1 << 20 })
			w := ask(t, p, trigger(1))
			got := until(t, p, w.ID, provisioner.Succeeded, provisioner.Failed, provisioner.Cancelled, provisioner.Lost)
			if got.State != c.state || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("the worker is %s, %q; want %s, %q", got.State, got.Reason, c.state, c.reason)
			}
			_, metrics := ask200(p.Handler(provisioner.Gate{Open: true}), "/metrics")
			if counted := fmt.Sprintf("wharf_provisioner_workers_ended_total{cause=%q,state=%q} 1\n", c.cause, c.state); !strings.Contains(metrics, counted) {
				t.Errorf("the metrics lack %s:\n%s", counted, metrics)
			}
		})
	}
}

func TestSameBuildTwice(t *testing.T) {
	y := newYard()
	y.build = untilTold
	p, q := y.open(t, nil), y.open(t, nil)
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, m, err := []*provisioner.Provisioner{p, q}[i%2].Trigger(t.Context(), trigger(3))
			if err != nil {
				t.Error(err)
			}
			if m {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || len(p.Workers()) != 1 {
		t.Errorf("%d calls made a worker, there are %d; want one", made.Load(), len(p.Workers()))
	}
	other := trigger(3)
	other.Instance = "another"
	if w := ask(t, p, other); w.ID == p.Workers()[0].ID && len(p.Workers()) == 1 {
		t.Error("the same build of another instance has the same worker")
	}
}

// TestThreeProvisioners asks three for 500 builds, faster than they can be built, of seven projects; with limits.
func TestThreeProvisioners(t *testing.T) {
	y := newYard()
	const builds, most = 500, 7
	y.build = func(ctx context.Context, p *fake.Proc, id string) int {
		p.Linger(time.Millisecond)
		leave, _ := y.leave.Load(id)
		leave.(func())() // another may be started as soon as it says that it has ended
		report.Write(p.Stdout(), report.Line{State: report.Succeeded})
		return 0
	}
	var all []*provisioner.Provisioner
	for range 3 {
		all = append(all, y.open(t, func(c *provisioner.Config) { c.Limits = provisioner.Limits{Total: most, PerProject: 3} }))
	}
	var wg sync.WaitGroup
	for i := range builds {
		wg.Go(func() {
			tr := trigger(uint64(i))
			tr.ProjectID = uint64(i % 7)
			if _, _, err := all[i%3].Trigger(t.Context(), tr); err != nil {
				t.Errorf("build %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	ended := map[string]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for w := range all[0].Watch(ctx) {
		if w.State.Final() {
			if ended[w.ID] = true; w.State != provisioner.Succeeded {
				t.Errorf("worker %s is %s: %s", w.ID, w.State, w.Reason)
			}
		}
		if len(ended) == builds {
			break
		}
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if len(ended) != builds || len(y.ran) != builds || y.most > most || y.mostOfProject > 3 {
		t.Errorf("%d workers ended, %d ran, %d at once, %d of one project; want %d, %d, at most %d, and 3", len(ended), len(y.ran), y.most, y.mostOfProject, builds, builds, most)
	}
	for id, n := range y.ran {
		if n != 1 {
			t.Errorf("worker %s ran %d times", id, n)
		}
	}
}

// TestDeleteAnywhere deletes a worker in each of its states; nothing may be left, also of what its build has made.
func TestDeleteAnywhere(t *testing.T) {
	for _, state := range []provisioner.State{provisioner.Queued, provisioner.Cloning, provisioner.Running, provisioner.Succeeded} {
		t.Run(string(state), func(t *testing.T) {
			y := newYard()
			y.build = untilTold
			if state == provisioner.Succeeded {
				y.build = nil
			}
			if state == provisioner.Cloning {
				y.clone = func(ctx context.Context, p *fake.Proc) int { return untilTold(ctx, p, "") }
			}
			p := y.open(t, func(c *provisioner.Config) { c.Limits.Total = 1 })
			id := ask(t, p, trigger(1)).ID
			if state == provisioner.Queued {
				until(t, p, id, provisioner.Running)
				id = ask(t, p, trigger(2)).ID
			}
			until(t, p, id, state)
			builds := y.Open("builds")
			defer builds.Close()
			if state == provisioner.Cloning || state == provisioner.Running { // what has never run has made nothing, and what has ended makes nothing more
				left(t, builds, id)
			}
			if err := p.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Worker(id); !errors.Is(err, provisioner.ErrNoWorker) {
				t.Errorf("the worker is still there: %v", err)
			}
			if err := p.Delete(t.Context(), id); !errors.Is(err, provisioner.ErrNoWorker) {
				t.Errorf("deleting it again: %v", err)
			}
			for _, w := range p.Workers() {
				if err := p.Delete(t.Context(), w.ID); err != nil {
					t.Error(err)
				}
			}
			y.eventually(t)
		})
	}
}

// TestKilledAtEachCall lets a provisioner die at each of its calls to the runtime; the next one goes on. The worker runs once, and nothing is left
// when it is deleted.
func TestKilledAtEachCall(t *testing.T) {
	ops := []string{"create volume", "create", "list volumes", "list", "start", "logs", "wait", "events"}
	for _, op := range ops {
		for _, behind := range []bool{false, true} {
			for after := range 3 {
				t.Run(fmt.Sprintf("%s %d %v", op, after, behind), func(t *testing.T) {
					bubble(t, func(t *testing.T, y *yard) { killedAt(t, y, op, after, behind) })
				})
			}
		}
	}
}

// killedAt cuts a provisioner off at a call of an operation: before the runtime hears of it, or when it has done it.
func killedAt(t *testing.T, y *yard, op string, after int, behind bool) {
	d := &mortal{Driver: y.Open("workers"), op: op, after: int32(after), behind: behind, err: errDead}
	first, err := provisioner.New(provisioner.Config{Driver: d, Image: "worker", WorkerKey: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	_, _, triggerErr := first.Trigger(t.Context(), trigger(1))
	if triggerErr == nil {
		watch, stop := context.WithTimeout(t.Context(), 100*time.Millisecond) // it may never come so far
		for w := range first.Watch(watch) {
			if w.State.Final() {
				break
			}
		}
		stop()
	}
	d.die()
	cancel()
	<-done
	d.Driver.Close()

	second := y.open(t, nil)
	w := ask(t, second, trigger(1)) // as its client would who got no answer
	until(t, second, w.ID, provisioner.Succeeded)
	y.mu.Lock()
	if y.ran[w.ID] != 1 {
		t.Errorf("the worker ran %d times", y.ran[w.ID])
	}
	y.mu.Unlock()
	if err := second.Delete(t.Context(), w.ID); err != nil {
		t.Error(err)
	}
	y.later(t)
}

// TestAway has the runtime go away and come back.
func TestAway(t *testing.T) {
	bubble(t, away)
}

func away(t *testing.T, y *yard) {
	y.build = untilTold
	p := y.open(t, func(c *provisioner.Config) { c.Limits.Total = 1 })
	first, second := ask(t, p, trigger(1)), ask(t, p, trigger(2))
	until(t, p, first.ID, provisioner.Running)
	synctest.Wait()
	y.Down()
	if _, _, err := p.Trigger(t.Context(), trigger(3)); !errdefs.IsUnavailable(err) {
		t.Errorf("a trigger while the runtime is away: %v", err)
	}
	y.Up()
	ask(t, p, trigger(3))
	if err := y.Signal(taskOf(t, y, first.ID), int(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	until(t, p, first.ID, provisioner.Cancelled)
	until(t, p, second.ID, provisioner.Running)
}

func taskOf(t *testing.T, y *yard, name string) driver.TaskID {
	t.Helper()
	d := y.Open("workers")
	defer d.Close()
	tasks, err := d.List(t.Context(), driver.ListOptions{Labels: map[string]string{provisioner.LabelWorker: name}})
	if err != nil || len(tasks) != 1 {
		t.Fatalf("the task of %s: %v, %v", name, tasks, err)
	}
	return tasks[0].ID
}

// TestReleased removes a worker from which everything was taken.
func TestReleased(t *testing.T) {
	bubble(t, released)
}

func released(t *testing.T, y *yard) {
	y.build = func(_ context.Context, p *fake.Proc, _ string) int {
		report.Write(p.Stdout(), report.Line{State: report.Succeeded})
		report.Write(p.Stdout(), report.Line{State: report.Released})
		return 0
	}
	p := y.open(t, nil)
	w := ask(t, p, trigger(1))
	synctest.Wait()
	if _, err := p.Worker(w.ID); !errors.Is(err, provisioner.ErrNoWorker) || y.ran[w.ID] != 1 {
		t.Errorf("the worker ran %d times, and is there: %v", y.ran[w.ID], err)
	}
	y.empty(t)
}

// TestWaitsServing: a worker whose build has ended and that waits to be read holds no one up.
func TestWaitsServing(t *testing.T) {
	y := newYard()
	y.build = func(ctx context.Context, p *fake.Proc, id string) int {
		report.Write(p.Stdout(), report.Line{State: report.Succeeded})
		return untilTold(ctx, p, id)
	}
	p := y.open(t, func(c *provisioner.Config) { c.Limits.Total = 1 })
	for n := range uint64(3) {
		until(t, p, ask(t, p, trigger(n)).ID, provisioner.Succeeded)
	}
}

func TestImageMissing(t *testing.T) {
	y := newYard()
	p := y.open(t, func(c *provisioner.Config) { c.Image = "another" })
	for p.Ready(t.Context()) == nil || !strings.Contains(p.Ready(t.Context()).Error(), "the workers' image is not there") {
		time.Sleep(time.Millisecond)
	}
	if _, _, err := p.Trigger(t.Context(), trigger(1)); !errdefs.IsNotFound(err) {
		t.Errorf("a trigger without the image: %v", err)
	}
	y.empty(t)
	if err := y.AddImage("another", fake.Image{}); err != nil {
		t.Fatal(err)
	}
	for p.Ready(t.Context()) != nil {
		time.Sleep(10 * time.Millisecond)
	}
}

// TestImageGone: that the workers' image is there no more shows, until it is again.
func TestImageGone(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, nil)
		awaitReady := func(want string) {
			t.Helper()
			for range 100 {
				err := p.Ready(t.Context())
				if want == "" && err == nil || want != "" && err != nil && strings.Contains(err.Error(), want) {
					return
				}
				time.Sleep(time.Second)
			}
			t.Errorf("being ready is %v; want %q", p.Ready(t.Context()), want)
		}
		awaitReady("")
		y.RemoveImage("worker")
		awaitReady("the workers' image is not there any more")
		if err := y.AddImage("worker", fake.Image{}); err != nil {
			t.Fatal(err)
		}
		awaitReady("")
	})
}

func TestQueueFull(t *testing.T) {
	y := newYard()
	y.build = untilTold
	p := y.open(t, func(c *provisioner.Config) { c.Limits = provisioner.Limits{Total: 1, Queue: 2} })
	until(t, p, ask(t, p, trigger(1)).ID, provisioner.Running)
	ask(t, p, trigger(2))
	ask(t, p, trigger(3))
	if _, _, err := p.Trigger(t.Context(), trigger(4)); !errors.Is(err, provisioner.ErrQueueFull) {
		t.Errorf("one more than the queue holds: %v", err)
	}
	for w := range p.Watch(t.Context()) {
		if w.State == provisioner.Queued && w.Position == 2 {
			if !strings.Contains(w.Reason, "1 workers run, which is the limit") {
				t.Errorf("the reason is %q", w.Reason)
			}
			break
		}
	}
}

var errDead = driver.WithClass(errdefs.ErrUnavailable, "killed")

// mortal is a driver whose process dies at a call: from then on nothing comes of its calls.
type mortal struct {
	*fake.Driver
	op     string
	after  int32
	behind bool
	err    error
	armed  atomic.Value
	calls  atomic.Int32
	dead   atomic.Bool
}

func (m *mortal) die() { m.dead.Store(true) }

// arm has it die at the next call of an operation.
func (m *mortal) arm(op string) { m.armed.Store(op) }

// at returns whether the call still happens, and then whether its answer comes.
func (m *mortal) at(op string) (happens, answers bool) {
	if m.dead.Load() {
		return false, false
	}
	if op != m.armed.Load() && (op != m.op || m.calls.Add(1) <= m.after) {
		return true, true
	}
	m.dead.Store(true)
	return m.behind, false
}

func mortally[T any](m *mortal, op string, f func() (T, error)) (T, error) {
	var none T
	happens, answers := m.at(op)
	if !happens {
		return none, m.err
	}
	v, err := f()
	if !answers {
		return none, m.err
	}
	return v, err
}

func (m *mortal) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	return mortally(m, "create", func() (driver.TaskID, error) { return m.Driver.Create(ctx, spec) })
}

func (m *mortal) Start(ctx context.Context, id driver.TaskID) error {
	_, err := mortally(m, "start", func() (int, error) { return 0, m.Driver.Start(ctx, id) })
	return err
}

func (m *mortal) Logs(ctx context.Context, id driver.TaskID, o driver.LogOptions) (driver.LogReader, error) {
	return mortally(m, "logs", func() (driver.LogReader, error) { return m.Driver.Logs(ctx, id, o) })
}

func (m *mortal) Wait(ctx context.Context, id driver.TaskID) (driver.Result, error) {
	return mortally(m, "wait", func() (driver.Result, error) { return m.Driver.Wait(ctx, id) })
}

func (m *mortal) Stop(ctx context.Context, id driver.TaskID, o driver.StopOptions) error {
	_, err := mortally(m, "stop", func() (int, error) { return 0, m.Driver.Stop(ctx, id, o) })
	return err
}

func (m *mortal) Remove(ctx context.Context, id driver.TaskID) error {
	_, err := mortally(m, "remove", func() (int, error) { return 0, m.Driver.Remove(ctx, id) })
	return err
}

func (m *mortal) List(ctx context.Context, o driver.ListOptions) ([]driver.Task, error) {
	return mortally(m, "list", func() ([]driver.Task, error) { return m.Driver.List(ctx, o) })
}

func (m *mortal) CreateVolume(ctx context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	return mortally(m, "create volume", func() (driver.VolumeID, error) { return m.Driver.CreateVolume(ctx, spec) })
}

func (m *mortal) RemoveVolume(ctx context.Context, id driver.VolumeID) error {
	_, err := mortally(m, "remove volume", func() (int, error) { return 0, m.Driver.RemoveVolume(ctx, id) })
	return err
}

func (m *mortal) ListVolumes(ctx context.Context, o driver.ListOptions) ([]driver.Volume, error) {
	return mortally(m, "list volumes", func() ([]driver.Volume, error) { return m.Driver.ListVolumes(ctx, o) })
}

func (m *mortal) Events(ctx context.Context, o driver.ListOptions, f func(driver.Event) error) error {
	_, err := mortally(m, "events", func() (int, error) {
		return 0, m.Driver.Events(ctx, o, func(ev driver.Event) error {
			if m.dead.Load() {
				return m.err
			}
			return f(ev)
		})
	})
	return err
}

// watched is a driver whose tasks can be looked at before they are made, and listed otherwise than they are.
type watched struct {
	*fake.Driver
	created func(driver.TaskSpec)
	listed  func([]driver.Task)
	mute    func(driver.TaskID) bool // no events tell of these
}

func (w *watched) Events(ctx context.Context, o driver.ListOptions, f func(driver.Event) error) error {
	return w.Driver.Events(ctx, o, func(ev driver.Event) error {
		if w.mute != nil && w.mute(ev.Task) {
			return nil
		}
		return f(ev)
	})
}

func (w *watched) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	if w.created != nil {
		w.created(spec)
	}
	return w.Driver.Create(ctx, spec)
}

func (w *watched) List(ctx context.Context, o driver.ListOptions) ([]driver.Task, error) {
	tasks, err := w.Driver.List(ctx, o)
	if w.listed != nil {
		w.listed(tasks)
	}
	return tasks, err
}

// TestCredentials: they are files of the clone alone, and the one that fits the URL is taken.
func TestCredentials(t *testing.T) {
	const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nof-the-trigger\n-----END OPENSSH PRIVATE KEY-----"
	for name, c := range map[string]struct{ url, credential, want string }{
		"token":                {"https://git.example.com/a/b.git", "of-the-trigger", "git-token"},
		"key":                  {"git@git.example.com:a/b.git", key, "ssh-key"},
		"token for SSH":        {"git@git.example.com:a/b.git", "of-the-trigger", "of-the-installation"},
		"key with white space": {"git@git.example.com:a/b.git", "\n" + key + "\n", "ssh-key"},
		"token in the URL":     {"https://of-the-trigger-too@git.example.com/a/b.git", "of-the-trigger", "git-user"},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard()
			specs := make(chan driver.TaskSpec, 1)
			p := y.open(t, func(cfg *provisioner.Config) {
				cfg.Driver = &watched{Driver: cfg.Driver.(*fake.Driver), created: func(s driver.TaskSpec) { specs <- s }}
				cfg.Clone.SSHKey = []byte("of-the-installation")
			})
			tr := trigger(1)
			tr.URL, _ = giturl.Parse(c.url)
			tr.Credential, tr.Inputs = c.credential, map[string]string{"password": "of-the-trigger"}
			w := ask(t, p, tr)
			spec := <-specs
			found := false
			for _, s := range spec.Secrets {
				clones := slices.Equal(s.Containers, []string{"clone"})
				if strings.Contains(string(s.Value), "of-the-") && s.Name != "order" && !clones {
					t.Errorf("the secret %s is in %v", s.Name, s.Containers)
				}
				found = found || clones && (s.Name == c.want || string(s.Value) == c.want)
			}
			if !found {
				t.Errorf("the clone does not get %s", c.want)
			}
			spec.Secrets = nil
			for where, v := range map[string]any{"task": spec, "answer": w} {
				text, err := json.Marshal(v)
				if err != nil || strings.Contains(string(text), "of-the-") {
					t.Errorf("the %s shows a secret: %s, %v", where, text, err)
				}
			}
			until(t, p, w.ID, provisioner.Succeeded)
		})
	}
}

// TestOldLists: lists that are older than what is known, and a runtime that does not know for a while, take nothing back.
func TestOldLists(t *testing.T) {
	y := newYard()
	y.build = untilTold
	var unsure atomic.Bool
	p := y.open(t, func(cfg *provisioner.Config) {
		cfg.Driver = &watched{Driver: cfg.Driver.(*fake.Driver), listed: func(tasks []driver.Task) {
			for i := range tasks {
				if unsure.Load() {
					tasks[i].State, tasks[i].Reason = driver.StateUnknown, "the node does not answer"
				}
			}
		}}
	})
	w := ask(t, p, trigger(1))
	until(t, p, w.ID, provisioner.Running)
	unsure.Store(true)
	if err := p.Delete(t.Context(), "somebody"); !errors.Is(err, provisioner.ErrNoWorker) { // which asks for all workers
		t.Error(err)
	}
	if now, err := p.Worker(w.ID); err != nil || now.State != provisioner.Running {
		t.Errorf("the worker is %+v, %v", now, err)
	}
	if again := ask(t, p, trigger(1)); again.ID != w.ID || again.State != provisioner.Running {
		t.Errorf("asking again: %+v", again)
	}
}
