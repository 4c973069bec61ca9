package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// openSealing returns a driver of an owner with a SealKey.
func openSealing(t *testing.T, owner, key string) *Driver {
	t.Helper()
	d, err := New(Config{Owner: owner, SealKey: []byte(key)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// secretsIn reads a file of a task that was not started.
func secretsIn(ctx context.Context, d *Driver, id driver.TaskID, path string) error {
	r, err := d.CopyOut(ctx, driver.CopyOutOptions{Place: driver.Place{Task: id}, Path: path})
	if err == nil {
		r.Close()
	}
	return err
}

// TestSealed starts a task with the driver that made it, with one of another process, and with those that cannot.
func TestSealed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	plain := open(t)
	const key, path = "a key of some length", "/run/there/secret"
	d, other, wrong := openSealing(t, plain.owner, key), openSealing(t, plain.owner, key), openSealing(t, plain.owner, "another key of some")
	spec := driver.TaskSpec{
		Init:      []driver.Container{{Name: "first", Image: image, Args: []string{"cat", path}}},
		Container: sh("cat " + path + "; stat -c '%a %u' " + path), Secrets: []driver.Secret{
			{Name: "of first", Path: path, Value: []byte("first's\n"), Containers: []string{"first"}},
			{Name: "of main", Path: path, Value: []byte("main's\n"), Mode: 0o440, UID: 7, Containers: []string{driver.MainContainer}},
		},
	}
	id := create(t, d, spec)
	if err := secretsIn(ctx, d, id, path); !errdefs.IsNotFound(err) {
		t.Errorf("before the start the file is there: %v", err)
	}
	all, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: d.filters(kindHolder, nil)})
	if err != nil || len(all.Items) != 1 {
		t.Fatalf("there is no one holder: %v, %v", all.Items, err)
	}
	shown, err := d.inspect(ctx, all.Items[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := json.Marshal(shown); strings.Contains(string(text), "main's") {
		t.Errorf("the secret shows: %s", text)
	}
	for name, d := range map[string]*Driver{"no key": plain, "another key": wrong} {
		if err := d.Start(ctx, id); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "SealKey") {
			t.Errorf("Start with %s: %v", name, err)
		}
	}
	if list, err := d.List(ctx, driver.ListOptions{}); err != nil || len(list) != 1 || list[0].State != driver.StateCreated {
		t.Errorf("after these starts there is %+v, %v", list, err)
	}
	if err := other.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*Driver{"it": d, "no key, when there is nothing to write any more": plain} {
		if err := d.Start(ctx, id); err != nil {
			t.Errorf("Start once more with %s: %v", name, err)
		}
	}
	r, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines, err := readAll(t, r)
	slices.Sort(lines)
	want := []string{"first stdout first's", "main stdout 440 7", "main stdout main's"} // sorted
	if diff := cmp.Diff(want, lines); err != nil || diff != "" {
		t.Errorf("the task prints, %v (-want +got):\n%s", err, diff)
	}
}

// TestSealedWithoutPlace gives a task a secret whose file cannot be.
func TestSealedWithoutPlace(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	plain := open(t)
	d := openSealing(t, plain.owner, "a key of some length")
	id := create(t, d, driver.TaskSpec{
		Init: []driver.Container{{Name: "first", Image: image, Args: []string{"true"}}}, Container: sh("true"),
		Secrets: []driver.Secret{{Name: "no file", Path: "/etc/passwd/secret", Value: []byte("x")}},
	})
	if err := d.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*Driver{"it": d, "another": plain} {
		if res, err := d.Wait(ctx, id); err != nil || res.Outcome != driver.StartFailed || !strings.Contains(res.Reason, "secret") {
			t.Errorf("who waits by %s hears that the task %s, %v", name, res, err)
		} else {
			t.Logf("by %s: %s", name, res)
		}
	}
	if list, err := d.List(ctx, driver.ListOptions{}); err != nil || len(list) != 1 || list[0].State != driver.StateEnded {
		t.Errorf("there is %+v, %v", list, err)
	}
}

// TestSealedLarge gives a task more than is kept for the start.
func TestSealedLarge(t *testing.T) {
	t.Parallel()
	plain := open(t)
	d := openSealing(t, plain.owner, "a key of some length")
	const path = "/run/secret"
	id := create(t, d, driver.TaskSpec{
		Init: []driver.Container{{Name: "first", Image: image, Args: []string{"true"}}}, Container: sh("true"),
		Secrets: []driver.Secret{{Name: "large", Path: path, Value: bytes.Repeat([]byte("x"), mostSealed)}},
	})
	if err := secretsIn(t.Context(), d, id, path); err != nil {
		t.Errorf("a large secret is not in its container: %v", err)
	}
	if err := plain.Start(t.Context(), id); err != nil {
		t.Errorf("Start by a driver without the key: %v", err)
	}
	if res, err := plain.Wait(t.Context(), id); err != nil || !res.Succeeded() {
		t.Errorf("the task %s, %v", res, err)
	}
	if err := (&Config{SealKey: []byte("short")}).Validate(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a short key: %v", err)
	}
}
