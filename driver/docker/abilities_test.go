package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

func TestSecrets(t *testing.T) {
	d := open(t)
	const value = "very-secret-value"
	spec := driver.TaskSpec{
		Name: "secret-" + newUID(), Container: sh("cat /run/secrets/deep/token; stat -c '%a %u' /run/secrets/deep/token /run/secrets/deep; id -u"),
		Secrets: []driver.Secret{{Name: "token", Path: "/run/secrets/deep/token", Value: []byte(value + "\n"), UID: 1000}},
	}
	spec.Container.User = "1000"
	id := create(t, d, spec)
	h, err := d.parse(string(id))
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.api.ContainerInspect(t.Context(), h.container, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(res.Raw, []byte(value)) {
		t.Error("inspect shows the secret")
	}
	spec.Name += "b"
	got, lines := run(t, d, spec)
	want := []string{"main stdout " + value, "main stdout 400 1000", "main stdout 755 0", "main stdout 1000"}
	if diff := cmp.Diff(want, lines); diff != "" || !got.Succeeded() {
		t.Errorf("%v (-want +got):\n%s", got, diff)
	}
}

func TestSecurity(t *testing.T) {
	d := open(t)
	c := sh("grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /tmp/x && echo writable")
	_, lines := run(t, d, driver.TaskSpec{Container: c})
	// The bits of driver.DefaultCapabilities.
	want := []string{"main stdout CapEff:\t00000000800404fb", "main stdout NoNewPrivs:\t1", "main stdout writable"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("by default (-want +got):\n%s", diff)
	}
	c.Security = driver.Security{DropAll: true, ReadOnlyRoot: true}
	_, lines = run(t, d, driver.TaskSpec{Container: c})
	if !slices.Contains(lines, "main stdout CapEff:\t0000000000000000") || strings.Contains(strings.Join(lines, "\n"), "writable") {
		t.Errorf("with DropAll and ReadOnlyRoot: %q", lines)
	}
	for name, s := range map[string]driver.Security{
		"privileged": {Privileged: true}, "host network": {HostNetwork: true}, "host path": {HostPaths: map[string]string{"/x": "/etc"}},
		"capability": {AddCapabilities: []string{"SYS_ADMIN"}}, "new privileges": {AllowNewPrivileges: true},
	} {
		_, err := d.Create(t.Context(), driver.TaskSpec{Name: "refused", Container: driver.Container{Image: image, Security: s}})
		if !errdefs.IsPermissionDenied(err) {
			t.Errorf("%s: %v; want it to be denied", name, err)
		}
	}
}

func TestAllowed(t *testing.T) {
	d, err := New(Config{Owner: "test-" + newUID(), Allow: Policy{HostPaths: []string{"/etc"}, Capabilities: []string{"NET_ADMIN"}, HostNetwork: true, Privileged: true, NewPrivileges: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	c := sh("test -f /host/passwd && ip link add dummy0 type dummy && echo yes")
	c.Security = driver.Security{HostPaths: map[string]string{"/host": "/etc"}, AddCapabilities: []string{"NET_ADMIN"}}
	if res, lines := run(t, d, driver.TaskSpec{Container: c}); !res.Succeeded() && !strings.Contains(strings.Join(lines, ""), "not supported") {
		t.Errorf("%v %q", res, lines)
	}
	c.Security = driver.Security{HostPaths: map[string]string{"/host": "/etcetera"}}
	if _, err := d.Create(t.Context(), driver.TaskSpec{Name: "refused", Container: c}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("a path beside the allowed one: %v", err)
	}
}

func TestExecAndStats(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := create(t, d, driver.TaskSpec{Container: sh("sleep 100")})
	if _, err := d.Exec(ctx, id, driver.ExecSpec{Args: []string{"true"}}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Exec before the start: %v", err)
	}
	if _, err := d.Stats(ctx, id); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Stats before the start: %v", err)
	}
	if err := d.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	res, err := d.Exec(ctx, id, driver.ExecSpec{
		Args: []string{"sh", "-c", "cat; echo $X >&2; pwd; exit 5"}, Env: map[string]string{"X": "y z"}, Dir: "/tmp",
		Stdin: strings.NewReader("in\n"), Stdout: &stdout, Stderr: &stderr,
	})
	if err != nil || res.Code != 5 || stdout.String() != "in\n/tmp\n" || stderr.String() != "y z\n" {
		t.Errorf("%v, %v: %q %q", res, err, stdout.String(), stderr.String())
	}
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	if _, err := d.Exec(short, id, driver.ExecSpec{Args: []string{"sleep", "5"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Exec whose context ends: %v", err)
	}
	usage, err := d.Stats(ctx, id)
	if err != nil || usage.CPU <= 0 || usage.Memory <= 0 || usage.PIDs < 1 {
		t.Errorf("stats: %+v, %v", usage, err)
	}
}

func TestVolumeHandles(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	spec := driver.VolumeSpec{Name: "v", Labels: map[string]string{"a/b": "c=d"}}
	first, err := d.CreateVolume(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.CreateVolume(ctx, spec); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second volume of that name: %v", err)
	}
	if err := d.RemoveVolume(ctx, first); err != nil {
		t.Fatal(err)
	}
	second, err := d.CreateVolume(ctx, spec)
	if err != nil || first == second {
		t.Fatalf("made again: %q, %v; before it was %q", second, err, first)
	}
	if err := d.RemoveVolume(ctx, first); err != nil {
		t.Errorf("the old handle: %v", err)
	}
	c := sh("true")
	c.Mounts = []driver.Mount{{Volume: first, Path: "/v"}}
	if _, err := d.Create(ctx, driver.TaskSpec{Name: "x", Container: c}); !errdefs.IsNotFound(err) {
		t.Errorf("Create with a volume that is gone: %v", err)
	}
	list, err := d.ListVolumes(ctx, driver.ListOptions{Labels: spec.Labels})
	if err != nil || len(list) != 1 || list[0].ID != second {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := d.RemoveVolume(ctx, second); err != nil {
		t.Error(err)
	}
}

// TestResults reads the daemon's records that a test cannot bring about on a healthy one.
func TestResults(t *testing.T) {
	const began, ended = `"StartedAt":"2026-01-01T00:00:00Z",`, `"FinishedAt":"2026-01-01T00:00:05Z"`
	for name, test := range map[string]struct {
		state   string
		exit    exit
		version string
		want    driver.Outcome
	}{
		"success":               {state: `{"Status":"exited",` + began + ended + `}`, want: driver.Exited},
		"no time of the end":    {state: `{"Status":"exited",` + began + `"FinishedAt":"0001-01-01T00:00:00Z"}`, want: driver.Unknown},
		"lost by 24.0.1":        {state: `{"Status":"exited",` + began + ended + `}`, version: "24.0.1", want: driver.Unknown},
		"seen by 24.0.1":        {state: `{"Status":"exited",` + began + ended + `}`, version: "24.0.1", exit: exit{seen: true}, want: driver.Exited},
		"two answers":           {state: `{"Status":"exited",` + began + ended + `}`, exit: exit{seen: true, code: 137}, want: driver.Unknown},
		"out of memory":         {state: `{"Status":"exited","OOMKilled":true,"ExitCode":1,` + began + ended + `}`, want: driver.OutOfMemory},
		"a child out of memory": {state: `{"Status":"exited","OOMKilled":true,"ExitCode":0,` + began + ended + `}`, want: driver.Exited},
		"being removed":         {state: `{"Status":"removing","ExitCode":137,` + began + ended + `}`, want: driver.Lost},
		"removed before start":  {state: `{"Status":"removing"}`, want: driver.Lost},
		"gone":                  {want: driver.Lost},
		"gone after an exit":    {exit: exit{seen: true, code: 3}, want: driver.Exited},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := New(Config{Host: "unix:///nowhere"})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			d.server.Store(test.version)
			if test.state != "" {
				if err := json.Unmarshal([]byte(`{"State":`+test.state+`}`), &test.exit.InspectResponse); err != nil {
					t.Fatal(err)
				}
			}
			if got := d.result(test.exit); got.Outcome != test.want {
				t.Errorf("%+v; want %v", got, test.want)
			}
		})
	}
}

// TestCopyInCancelled waits for a stream that never comes, until its context ends.
func TestCopyInCancelled(t *testing.T) {
	d := open(t)
	id := create(t, d, driver.TaskSpec{Container: sh("true")})
	cause := errors.New("enough")
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 300 * time.Millisecond} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), after, cause)
		stream, w := io.Pipe()
		err := d.CopyIn(ctx, driver.CopyInOptions{Place: driver.Place{Task: id}, Path: "/", Tar: stream})
		cancel()
		w.Close()
		if !errors.Is(err, cause) {
			t.Errorf("cancelled after %v: %v; want the cause", after, err)
		}
	}
}
