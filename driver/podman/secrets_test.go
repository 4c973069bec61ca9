package podman

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// stored returns the names of the secrets of an owner that the service has.
func stored(t *testing.T, d *Driver) (names []string) {
	t.Helper()
	list, err := d.storedSecrets(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		names = append(names, s.Spec.Name)
	}
	return names
}

// The service takes neither empty secrets nor long ones: these are written into the container. None stays in its store.
func TestSecretsOfEachSize(t *testing.T) {
	d := open(t)
	spec := driver.TaskSpec{Container: sh("for i in 0 1 2 3; do stat -c '%s %a %u' /run/secrets/$i; done")}
	var want []string
	for i, size := range []int{0, 1, 511_999, 512_000} {
		spec.Secrets = append(spec.Secrets, driver.Secret{Name: fmt.Sprint(i), Path: fmt.Sprint("/run/secrets/", i), Value: bytes.Repeat([]byte("x"), size), UID: 7, Mode: 0o440})
		want = append(want, fmt.Sprintf("main stdout %d 440 7", size))
	}
	lines, err := readAll(t, follow(t.Context(), t, d, create(t, d, spec)))
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("the task sees %q, %v; want %q", lines, err, want)
	}
	if left := stored(t, d); left != nil {
		t.Errorf("the service still has %q", left)
	}
}

// A secret that has no place is refused at once, and leaves nothing.
func TestSecretsWithoutPlace(t *testing.T) {
	d := open(t)
	for _, place := range []string{"/bin", "/bin/sh/below", "/key/below"} {
		spec := driver.TaskSpec{Name: "no-place", Container: sh("true"), Secrets: []driver.Secret{{Name: "key", Path: place, Value: []byte("x")}, {Name: "other", Path: "/key", Value: []byte("x")}}}
		if _, err := d.Create(t.Context(), spec); !errors.Is(err, errdefs.ErrFailedPrecondition) || !strings.Contains(fmt.Sprint(err), "director") {
			t.Errorf("a secret at %s: %v; want FailedPrecondition, and why", place, err)
		}
	}
	if list, err := d.List(t.Context(), driver.ListOptions{}); err != nil || len(list) > 0 || stored(t, d) != nil {
		t.Errorf("left are %v, %v and the secrets %q", list, err, stored(t, d))
	}
}

// What a process left that was killed while it made a task, the next one removes, when it is old enough.
func TestSecretsOfTheDead(t *testing.T) {
	d := open(t)
	name := d.secretPrefix() + "dead_0"
	if err := d.api.call(t.Context(), "POST", "/secrets/create", url.Values{"name": {name}}, strings.NewReader("x"), nil); err != nil {
		t.Fatal(err)
	}
	d.sweepSecrets(t.Context())
	if left := stored(t, d); !slices.Equal(left, []string{name}) {
		t.Errorf("the service has %q; want what another process may be using", left)
	}
	next, err := New(Config{Owner: d.owner})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	next.secretAge = 0
	next.sweepSecrets(t.Context())
	if left := stored(t, d); left != nil {
		t.Errorf("the service still has %q", left)
	}
}

// A process was killed while it made a task of several containers: the secrets go with what there is of it.
func TestSecretsOfTheIncomplete(t *testing.T) {
	d := open(t)
	spec := driver.TaskSpec{Name: "half", Container: sh("true"), Secrets: []driver.Secret{{Name: "key", Path: "/key", Value: []byte("x")}}}
	spec.Init = []driver.Container{sh("true")}
	spec.Init[0].Name = "first"
	m := &maker{Driver: d, spec: &spec, uid: newUID()}
	network, err := m.networkOf(t.Context(), m.spec, m.uid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.holder(t.Context(), network); err != nil {
		t.Fatal(err)
	}
	if _, err := m.store(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, d); len(got) != 1 {
		t.Fatalf("the service has the secrets %q; want one", got)
	}
	list, err := d.List(t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || !list[0].Incomplete {
		t.Fatalf("List: %+v, %v; want the task, incomplete", list, err)
	}
	if err := d.Remove(t.Context(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	if left := stored(t, d); left != nil {
		t.Errorf("the service still has %q", left)
	}
}

// Somebody takes the secrets for those of a dead process while the task is made.
func TestSecretsTakenAway(t *testing.T) {
	d := open(t)
	spec := driver.TaskSpec{Name: "robbed", Container: sh("cat /key"), Secrets: []driver.Secret{{Name: "key", Path: "/key", Value: []byte("x\n")}}}
	m := &maker{Driver: d, spec: &spec, uid: newUID()}
	drop, err := m.store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer drop()
	if err := d.dropSecretsOf(t.Context(), m.uid); err != nil {
		t.Fatal(err)
	}
	if _, err := m.member(t.Context(), containersOf(&spec)[0], "", containerSpec{Network: namespace{Mode: "none"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.undo(t.Context()); err != nil {
		t.Error(err)
	}
}
