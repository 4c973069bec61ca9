package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// image is one with busybox, which the tests' set-up loads.
const image = "localhost/wharf/busybox:1"

// open returns a driver of an owner that no other test has.
func open(t testing.TB) *Driver {
	t.Helper()
	d, err := New(Config{Owner: "test-" + newUID()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.Capabilities(t.Context()); err != nil {
		t.Fatalf("these tests need a Docker daemon: %v", err)
	}
	return d
}

func sh(script string) driver.Container {
	return driver.Container{Image: image, Args: []string{"sh", "-c", script}, Pull: driver.PullNever}
}

func create(t testing.TB, d *Driver, spec driver.TaskSpec) driver.TaskID {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "task-" + newUID()
	}
	id, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Remove(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
	return id
}

// follow starts a task and returns its log, from the first line on.
func follow(ctx context.Context, t testing.TB, d *Driver, id driver.TaskID) driver.LogReader {
	t.Helper()
	r, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if err := d.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	return r
}

func readAll(t testing.TB, r driver.LogReader) (lines []string, err error) {
	t.Helper()
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", e.Container, e.Stream, e.Line))
	}
}

func TestLife(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := create(t, d, driver.TaskSpec{Container: sh("echo hello; echo oops >&2; printf last; exit 3")})
	r := follow(ctx, t, d, id)
	lines, err := readAll(t, r)
	if err != nil || len(lines) != 3 {
		t.Errorf("log: %q, %v", lines, err)
	}
	res, err := d.Wait(ctx, id)
	if err != nil || res.Outcome != driver.Exited || res.Code != 3 {
		t.Errorf("result: %v, %v", res, err)
	}
	again, err := d.Logs(ctx, id, driver.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if more, err := readAll(t, again); err != nil || len(more) != 3 {
		t.Errorf("log read again: %q, %v", more, err)
	}
	if err := d.Remove(ctx, id); err != nil {
		t.Error(err)
	}
	if _, err := d.Wait(ctx, id); !errdefs.IsNotFound(err) {
		t.Errorf("Wait after Remove: %v", err)
	}
}

func TestGroup(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	init := sh("echo one")
	init.Name = "first"
	service := sh("echo serving; touch /tmp/ready; trap 'exit 0' TERM; sleep 100 & wait")
	service.Name = "db"
	id := create(t, d, driver.TaskSpec{
		Container: sh("sleep 0.3; echo main"), Init: []driver.Container{init},
		Services: []driver.Service{{Container: service, Ready: driver.Ready{Exec: []string{"test", "-f", "/tmp/ready"}}}},
	})
	r := follow(ctx, t, d, id)
	lines, err := readAll(t, r)
	if err != nil || len(lines) != 3 {
		t.Errorf("log: %q, %v", lines, err)
	}
	if res, err := d.Wait(ctx, id); err != nil || !res.Succeeded() {
		t.Errorf("result: %v, %v", res, err)
	}
}

// TestHardlyMade starts a task of which there is only the container of its network, as in the first moment of its making.
func TestHardlyMade(t *testing.T) {
	t.Parallel()
	d := open(t)
	spec := driver.TaskSpec{Name: "half", Labels: map[string]string{"build": newUID()}, Container: sh(""), Services: []driver.Service{{Container: sh("")}}}
	half := &maker{Driver: d, spec: &spec, uid: newUID()}
	network, err := d.networkOf(&spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.holder(t.Context(), network); err != nil {
		t.Fatal(err)
	}
	tasks, err := d.List(t.Context(), driver.ListOptions{Labels: spec.Labels})
	if err != nil || len(tasks) != 1 || tasks[0].State != driver.StateUnknown || !tasks[0].Incomplete {
		t.Fatalf("List: %+v, %v; want a task that is not complete", tasks, err)
	}
	if err := d.Start(t.Context(), tasks[0].ID); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Start: %v; want FailedPrecondition", err)
	}
	if err := d.Remove(t.Context(), tasks[0].ID); err != nil {
		t.Error(err)
	}
	if tasks, err := d.List(t.Context(), driver.ListOptions{}); err != nil || len(tasks) > 0 {
		t.Errorf("after Remove there is %+v, %v", tasks, err)
	}
}
