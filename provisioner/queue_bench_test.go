package provisioner

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
)

// BenchmarkArrange puts 10,000 workers in order, of some projects or of many.
func BenchmarkArrange(b *testing.B) {
	for _, projects := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d projects", projects), func(b *testing.B) {
			var queue []waiting
			for i := range 10_000 {
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
	p, err := New(Config{Driver: none{}, Image: "worker", WorkerKey: make([]byte, 16), Limits: Limits{Total: 1, PerProject: 1}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_001 {
		t := Trigger{Build: uint64(i), Instance: "test", ProjectID: uint64(i % 1000)}
		task := driver.Task{ID: driver.TaskID(fmt.Sprint("task-", i)), Labels: t.describe(), State: driver.StateCreated, Created: time.Unix(int64(i), 0)}
		if i == 0 {
			task.State = driver.StateRunning
		}
		p.fleet.add(task)
	}
	for b.Loop() {
		if err := p.schedule(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// none is a runtime without volumes.
type none struct{ driver.Driver }

func (none) ListVolumes(context.Context, driver.ListOptions) ([]driver.Volume, error) {
	return nil, nil
}
