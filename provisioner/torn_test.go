package provisioner

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// Where a task is several containers, a list may have one of them by an ID of its own while the task is made or removed.
func TestTornTask(t *testing.T) {
	f := newFleet(func(*Worker) []limit { return nil })
	labels := map[string]string{LabelRole: RoleWorker, LabelWorker: "build-1-0123456789"}
	begin := time.Now()
	part := driver.Task{ID: "part", Labels: labels, Incomplete: true, Created: begin}
	whole := driver.Task{ID: "whole", Labels: labels, State: driver.StateCreated, Created: begin}
	is := func(what string, want driver.TaskID, unfinished bool) {
		t.Helper()
		task, _ := f.task("build-1-0123456789")
		if _, half := f.halfMade("build-1-0123456789"); task.ID != want || half != unfinished {
			t.Errorf("%s: the task is %q, unfinished: %v; want %q, %v", what, task.ID, !unfinished, want, unfinished)
		}
	}
	f.reconcile([]driver.Task{part}, begin)
	is("in the making", "part", true)
	f.add(whole)
	is("made", "whole", false)
	f.reconcile([]driver.Task{part}, begin)
	is("made, by a list from before", "whole", false)
	f.removed("whole")
	f.reconcile([]driver.Task{part}, time.Now())
	is("being removed", "", false)
	part.ID, part.Created = "next", time.Now().Add(time.Second)
	f.reconcile([]driver.Task{part}, time.Now())
	is("in the making again", "next", true)
}

// inParts is a runtime that has a task by half, of two containers, and which is asked for a list when one of them has been removed.
type inParts struct {
	driver.Driver
	list    []driver.Task
	removed func()
}

func (d *inParts) List(ctx context.Context, o driver.ListOptions) ([]driver.Task, error) {
	tasks, err := d.Driver.List(ctx, o)
	return append(tasks, d.list...), err
}

func (d *inParts) Remove(ctx context.Context, id driver.TaskID) error {
	if len(d.list) == 0 {
		return d.Driver.Remove(ctx, id)
	}
	d.list[0].ID = "rest"
	d.removed()
	time.Sleep(time.Millisecond)
	d.list = nil
	return nil
}

// A worker that was made by half, and is made anew, is not answered by what a list had of it while it was removed.
func TestHalfInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(fake.Config{}).Open("workers")
		defer f.Close()
		tr := Trigger{Build: 1, Instance: "test", Branch: "main"}
		id := workerID(tr.Instance, tr.Build)
		labels := map[string]string{LabelRole: RoleWorker, LabelWorker: id}
		d := &inParts{Driver: f, list: []driver.Task{{ID: "main", Labels: labels, Incomplete: true, Created: time.Now()}}}
		p, err := New(Config{Driver: d, Image: "worker", WorkerKey: []byte("0123456789abcdef")})
		if err != nil {
			t.Fatal(err)
		}
		refresh := func() {
			t.Helper()
			if err := p.refresh(t.Context()); err != nil {
				t.Error(err)
			}
		}
		d.removed = refresh
		p.fleet.reach(nil)
		refresh()
		time.Sleep(makingTime + time.Second)
		w, made, err := p.Trigger(t.Context(), tr)
		if err != nil || !made || w.ID != id {
			t.Errorf("the worker is %+v, made: %v, %v", w, made, err)
		}
		if tasks, err := f.List(t.Context(), driver.ListOptions{}); err != nil || len(tasks) != 1 {
			t.Errorf("the runtime has %+v, %v", tasks, err)
		}
	})
}
