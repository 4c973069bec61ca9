package provisioner

import (
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Where a task is several containers, a list may have one of them by an ID of its own while the task is made or removed.
func TestTornTask(t *testing.T) {
	f := newFleet(func(*Worker) []limit { return nil })
	labels := map[string]string{LabelRole: roleWorker, LabelWorker: "build-1-0123456789"}
	begin := time.Now()
	part := driver.Task{ID: "part", Labels: labels, Incomplete: true, Created: begin}
	whole := driver.Task{ID: "whole", Labels: labels, State: driver.StateCreated, Created: begin}
	is := func(what string, want driver.TaskID, unfinished bool) {
		t.Helper()
		task, _ := f.task("build-1-0123456789")
		if task.ID != want || f.unfinished("build-1-0123456789") != unfinished {
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
