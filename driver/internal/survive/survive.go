// Package survive is for tests of what a task lives through: it follows a task's log and waits for its end while the runtime is killed, restarted or
// cleared under it. Benchmarks use it too.
package survive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Waits are the arguments of the suite's program for a task that prints "ready", waits for [Task.GoOn], prints "done", and exits with 3.
var Waits = []string{"print", "ready", ";", "await", "/go", ";", "print", "done", ";", "exit", "3"}

// Task is a task that was started. It is for one goroutine.
type Task struct {
	ID  driver.TaskID
	Log driver.LogReader
	// Result has how the task ended, when it has ended, unless Wait failed, which fails the test.
	Result <-chan driver.Result

	t *testing.T
	d driver.Driver
}

// Start makes and starts a task, and returns when it has printed "ready". Its log is followed from before the start until the end of the test.
func Start(t *testing.T, d driver.Driver, spec driver.TaskSpec) *Task {
	t.Helper()
	id, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan driver.Result, 1)
	task := &Task{ID: id, Result: ended, t: t, d: d}
	if task.Log, err = d.Logs(t.Context(), id, driver.LogOptions{Follow: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { task.Log.Close() })
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	task.WantLine("ready")
	go func() {
		defer close(ended)
		res, err := d.Wait(t.Context(), id)
		if err != nil {
			t.Errorf("Wait: %v", err)
			return
		}
		ended <- res
	}()
	return task
}

// WantLine fails the test unless this is the log's next line.
func (r *Task) WantLine(want string) {
	r.t.Helper()
	e, err := r.Log.Next()
	if err != nil || string(e.Line) != want {
		r.t.Fatalf("the log has %q, %v; want %q", e.Line, err, want)
	}
}

// GoOn makes the file that the task waits for.
func (r *Task) GoOn() {
	r.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "go", Mode: 0o644}), w.Close()); err != nil {
		r.t.Fatal(err)
	}
	if err := r.d.CopyIn(r.t.Context(), driver.CopyInOptions{Place: driver.Place{Task: r.ID}, Path: "/", Tar: &b}); err != nil {
		r.t.Fatal(err)
	}
}

// WantResult waits for the end of the task, and fails the test unless it is this one, told with these words.
func (r *Task) WantResult(outcome driver.Outcome, words string) {
	r.t.Helper()
	select {
	case res, ok := <-r.Result:
		if ok && (res.Outcome != outcome || !strings.Contains(res.String(), words)) {
			r.t.Errorf("the task %v (%s); want %v, with %q", res, res.Outcome, outcome, words)
		}
	case <-time.After(2 * time.Minute): // only to see what hangs
		r.t.Fatal("Wait does not return")
	}
}

// Run starts a task, reads its log from before the start to the end, and returns how many lines it had. An end that is no success is an error.
func Run(ctx context.Context, d driver.Driver, id driver.TaskID) (lines int, err error) {
	r, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	if err := d.Start(ctx, id); err != nil {
		return 0, err
	}
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return lines, err
		}
		lines++
	}
	res, err := d.Wait(ctx, id)
	if err == nil && !res.Succeeded() {
		err = errors.New(res.String())
	}
	return lines, err
}
