package provisioner

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
)

// crowd is a runtime with very many workers, of which the first runs and the others are queued. It notes which are started.
type crowd struct {
	driver.Driver
	tasks   []driver.Task
	started chan driver.TaskID

	mu    sync.Mutex
	slots []driver.Volume
}

const many = 10_000

func newCrowd() *crowd {
	c := &crowd{started: make(chan driver.TaskID, many)}
	for i := range many + 1 {
		t := Trigger{Build: uint64(i), Instance: "test", ProjectID: uint64(i % 1000)}
		c.tasks = append(c.tasks, driver.Task{ID: driver.TaskID(fmt.Sprint("task-", i)), Labels: t.describe(), State: driver.StateCreated, Created: time.Unix(int64(i), 0)})
	}
	c.tasks[0].State = driver.StateRunning
	return c
}

func (c *crowd) List(context.Context, driver.ListOptions) ([]driver.Task, error) { return c.tasks, nil }

func (c *crowd) ListVolumes(context.Context, driver.ListOptions) ([]driver.Volume, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.slots), nil
}

func (c *crowd) CreateVolume(_ context.Context, spec driver.VolumeSpec) (driver.VolumeID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots = append(c.slots, driver.Volume{ID: driver.VolumeID(spec.Name), Name: spec.Name, Labels: spec.Labels})
	return driver.VolumeID(spec.Name), nil
}

func (c *crowd) Start(_ context.Context, id driver.TaskID) error {
	c.started <- id
	return nil
}

func (c *crowd) Logs(ctx context.Context, _ driver.TaskID, _ driver.LogOptions) (driver.LogReader, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (c *crowd) provisioner(t testing.TB, l Limits) *Provisioner {
	t.Helper()
	p, err := New(Config{Driver: c, Image: "worker", WorkerKey: make([]byte, 16), Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	if err := p.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTenThousand queues as many as may wait. Each has its position, those behind move up, and watchers are told of what matters to them.
func TestTenThousand(t *testing.T) {
	c := newCrowd()
	p := c.provisioner(t, Limits{Total: 1})
	look := func(want int) {
		t.Helper()
		if err := p.schedule(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := map[int]bool{}
		for _, w := range p.Workers() {
			if w.State == Queued && w.Position > 0 {
				at[w.Position] = true
			}
		}
		if len(at) != want || !at[1] || !at[want] {
			t.Errorf("%d workers have a position of their own; want %d", len(at), want)
		}
	}
	look(many)
	if len(c.started) > 0 {
		t.Error("one more than the limit was started")
	}
	s := &subscriber{pending: map[string]Worker{}, wake: make(chan struct{}, 1)}
	p.fleet.subscribers[s] = true
	p.fleet.changed(driver.Event{Task: c.tasks[0].ID, State: driver.StateEnded})
	look(many - 1)
	if id := <-c.started; id != c.tasks[1].ID {
		t.Errorf("%s was started; want the oldest", id)
	}
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	if n := len(s.pending); n < near || n > 2*near+many/near {
		t.Errorf("a watcher is told of %d workers when one was started", n)
	}
}

// BenchmarkArrange puts 10,000 workers in order, of some projects or of many.
func BenchmarkArrange(b *testing.B) {
	for _, projects := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d projects", projects), func(b *testing.B) {
			var queue []waiting
			for i := range many {
				queue = append(queue, waiting{fmt.Sprint("build-", i), fmt.Sprint(i % projects), i % 3, time.Unix(int64(i), 0)})
			}
			for b.Loop() {
				arrange(slices.Clone(queue), map[string]int{})
			}
		})
	}
}

// BenchmarkRound looks at a queue of 10,000, of which none can start.
func BenchmarkRound(b *testing.B) {
	p := newCrowd().provisioner(b, Limits{Total: 1, PerProject: 1})
	for b.Loop() {
		if err := p.schedule(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
