package podman

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// A container that is gone gets no mark, and what a process left that was killed before it removed one goes when the tasks are listed.
func TestMarksOfTheGone(t *testing.T) {
	d := open(t)
	id := create(t, d, driver.TaskSpec{Container: sh("true")}) // whose mark stays
	if err := d.Stop(t.Context(), id, driver.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := strings.Repeat("0123456789abcdef", 4)
	if err := d.setMark(t.Context(), gone, markStopped, ""); !errdefs.IsNotFound(err) {
		t.Errorf("a mark of a container that is not there: %v; want NotFound", err)
	}
	if _, err := d.inspectVolume(t.Context(), d.markName(gone)); !errdefs.IsNotFound(err) {
		t.Errorf("the mark is there: %v", err)
	}
	labels := map[string]string{labelOwner: d.owner, labelKind: kindMark, labelContainer: gone, labelMark: "1"}
	if err := d.makeVolume(t.Context(), d.markName(gone), labels); err != nil {
		t.Fatal(err)
	}
	if _, err := d.List(t.Context(), driver.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	d.tasks.Wait()
	if _, err := d.inspectVolume(t.Context(), d.markName(gone)); !errdefs.IsNotFound(err) {
		t.Errorf("the mark is still there: %v", err)
	}
	if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Stopped {
		t.Errorf("the task that was stopped: %v, %v", res, err)
	}
}
