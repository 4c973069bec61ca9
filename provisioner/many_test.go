package provisioner_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wharfci/wharf/provisioner"
)

// TestTenThousand queues as many as may wait. Each has its position, and those behind move up.
func TestTenThousand(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		const many = 10_000
		y.build = untilTold
		d := y.Open("workers")
		defer d.Close()
		maker, err := provisioner.New(provisioner.Config{Driver: d, Image: "worker", WorkerKey: []byte("0123456789abcdef"), Limits: provisioner.Limits{Queue: many + 1}}) // does not run
		if err != nil {
			t.Fatal(err)
		}
		for build := range uint64(many + 1) {
			tr := trigger(build)
			tr.ProjectID = build%100 + 1
			ask(t, maker, tr)
		}
		p := y.open(t, one)
		positions := func() map[int]bool {
			time.Sleep(time.Second)
			synctest.Wait()
			at := map[int]bool{}
			for _, w := range p.Workers() {
				if w.State == provisioner.Queued {
					at[w.Position] = true
				}
			}
			return at
		}
		if at := positions(); len(at) != many || at[0] || !at[1] || !at[many] {
			t.Errorf("%d workers have a position of their own; want %d", len(at), many)
		}
		runs := p.Workers()[many] // behind those that are queued
		if err := y.Signal(taskOf(t, y, runs.ID), 15); err != nil {
			t.Fatal(err)
		}
		if at := positions(); len(at) != many-1 || at[0] || !at[1] || !at[many-1] {
			t.Errorf("when one was started, %d have a position; want %d", len(at), many-1)
		}
		if y.most != 1 {
			t.Errorf("%d ran at once", y.most)
		}
	})
}
