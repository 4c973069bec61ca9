package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// somewhere is a configuration whose cluster is never asked.
func somewhere(t *testing.T) string {
	t.Helper()
	file := t.TempDir() + "/kubeconfig"
	writeFile(t, file, `{"apiVersion":"v1","kind":"Config","current-context":"c",
		"clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],"users":[{"name":"u","user":{"token":"t"}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":"u","namespace":"builds"}}]}`)
	return file
}

func unconnected(t *testing.T, cfg Config) *Driver {
	t.Helper()
	cfg.Kubeconfig = somewhere(t)
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestNamespaceOfTheContext(t *testing.T) {
	if d := unconnected(t, Config{}); d.namespace != "builds" {
		t.Errorf("the namespace is %q", d.namespace)
	}
	if d := unconnected(t, Config{Namespace: "other"}); d.namespace != "other" {
		t.Errorf("the namespace is %q", d.namespace)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{Owner: "a b"}, "Owner"},
		{Config{Namespace: "UPPER"}, "Namespace"},
		{Config{HelperImage: "::"}, "HelperImage"},
		{Config{VolumeRoot: "volumes"}, "VolumeRoot"},
		{Config{VolumeRoot: "/"}, "VolumeRoot"},
		{Config{VolumeRoot: "/var/lib/wharf", StorageClass: "standard"}, "one of them"},
		{Config{VolumeRoot: "/var/lib/wharf", Parent: Parent{"v1", "Pod", "worker", "1"}}, "nobody their directories"},
		{Config{Tolerations: []string{"key=value:Effect"}}, "Tolerations"},
		{Config{VolumeSize: -1}, "VolumeSize"},
		{Config{Parent: Parent{Kind: "Pod"}}, "Parent"},
		{Config{Allow: Policy{HostPaths: []string{"relative"}}}, "Allow.HostPaths"},
		{Config{Mirrors: map[string]string{"localhost": "https://x/y"}}, "Mirrors"},
		{Config{Mirrors: map[string]string{"localhost": "http://127.0.0.1:5000"}}, ""},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !errdefs.IsInvalidArgument(err)) {
			t.Errorf("%+v: %v; want %q", c.cfg, err, c.want)
		}
	}
}

func TestUnreachable(t *testing.T) {
	d := unconnected(t, Config{Patience: 1})
	_, err := d.List(context.Background(), driver.ListOptions{})
	var typed *driver.Error
	if !errdefs.IsUnavailable(err) || !errors.As(err, &typed) {
		t.Errorf("List: %v; want Unavailable", err)
	}
	if _, err := d.Create(context.Background(), driver.TaskSpec{Name: "x", Container: driver.Container{Image: "alpine"}}); !errdefs.IsUnavailable(err) {
		t.Errorf("Create: %v; want Unavailable", err)
	}
}

func build(t *testing.T, cfg Config, spec driver.TaskSpec) *core.Pod {
	t.Helper()
	d := unconnected(t, cfg)
	spec.Name = "unit.test"
	pod, err := d.buildPod(&spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestCommand(t *testing.T) {
	pod := build(t, Config{}, driver.TaskSpec{Container: driver.Container{
		Image: "alpine", Entrypoint: []string{"echo"}, Args: []string{"$(HOME)", "$$"}, Env: map[string]string{"A": "$(B)"}, Dir: "/src", User: "builder",
	}})
	c := pod.Spec.Containers[1]
	want := []string{wire.Program, "run", "main", "-user", "builder", "-dir", "/src", "--"}
	if diff := cmp.Diff(want, c.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"echo", "$$(HOME)", "$$$$"}, c.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if c.Env[0].Value != "$$(B)" || pod.Annotations[noteDefaults] != "{}" {
		t.Errorf("environment %v, defaults %s", c.Env, pod.Annotations[noteDefaults])
	}
	plan, err := planOf(pod)
	if err != nil || len(plan.Boxes) != 1 || plan.Boxes[0].Kind != wire.Main {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
}

// TestUser checks who the helper is, and whom it makes the command.
func TestUser(t *testing.T) {
	for _, c := range []struct {
		user        string
		nonRoot     bool
		uid, gid    int64 // of the helper; -1 is not set
		helperTakes string
	}{
		{"", false, -1, -1, ""},
		{"builder", true, 0, 0, "builder"},
		{"1000", false, 0, 0, "1000"},
		{"1000:50", false, 0, 0, "1000:50"},
		{"1000:50", true, 1000, 50, ""},
		{"1000", true, 1000, -1, ""},
		{"0:50", false, 0, 50, ""},
	} {
		got := userOf(c.user, c.nonRoot)
		number := func(n *int64) int64 {
			if n == nil {
				return -1
			}
			return *n
		}
		if number(got.uid) != c.uid || number(got.gid) != c.gid || got.name != c.helperTakes {
			t.Errorf("user %q, NonRoot %t: the helper is %d:%d and becomes %q", c.user, c.nonRoot, number(got.uid), number(got.gid), got.name)
		}
	}
}

func TestImageGivesTheCommand(t *testing.T) {
	pod := build(t, Config{}, driver.TaskSpec{Container: driver.Container{Image: "alpine"}, Init: []driver.Container{{Name: "one", Image: "alpine", Args: []string{"x"}}}})
	if got := pod.Annotations[noteDefaults]; got != `{"main":{"ID":"main","Cmd":true},"one":{"ID":"init-0"}}` {
		t.Errorf("defaults %s", got)
	}
}

// TestRestricted checks what the Pod Security Standard "restricted" asks for.
func TestRestricted(t *testing.T) {
	pod := build(t, Config{}, driver.TaskSpec{
		Container: driver.Container{Image: "alpine", User: "1000", Security: driver.Security{NonRoot: true, DropAll: true}},
		Secrets:   []driver.Secret{{Name: "s", Path: "/s", UID: 1000}},
	})
	if pod.Spec.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Error("no seccomp profile")
	}
	for _, c := range pod.Spec.Containers {
		s := c.SecurityContext
		if !*s.RunAsNonRoot || *s.AllowPrivilegeEscalation || len(s.Capabilities.Add) > 0 || s.Capabilities.Drop[0] != "ALL" {
			t.Errorf("container %s: %+v", c.Name, s)
		}
	}
}

// TestAccount checks which containers have the credentials of a service account.
func TestAccount(t *testing.T) {
	spec := driver.TaskSpec{
		Container: driver.Container{Image: "alpine"},
		Init:      []driver.Container{{Name: "one", Image: "alpine"}},
		Services:  []driver.Service{{Container: driver.Container{Name: "two", Image: "alpine"}}},
	}
	have := func(pod *core.Pod, volume string) (names []string) {
		if *pod.Spec.AutomountServiceAccountToken {
			t.Error("the API server mounts them everywhere")
		}
		for _, c := range pod.Spec.Containers {
			for _, m := range c.VolumeMounts {
				if m.MountPath == accountPath && m.Name == volume {
					names = append(names, c.Name)
				}
			}
		}
		return names
	}
	if names := have(build(t, Config{}, spec), volAccount); names != nil {
		t.Errorf("without an account %v have one", names)
	}
	spec.Placement.ServiceAccount = "builder"
	pod := build(t, Config{}, spec)
	if names := have(pod, volAccount); !slices.Equal(names, []string{"main"}) {
		t.Errorf("%v have the account; want main", names)
	}
	for _, c := range pod.Spec.Containers {
		if slices.Contains(c.Command, "-api") != (c.Name == "main") {
			t.Errorf("%s runs %v", c.Name, c.Command)
		}
	}
	spec.Secrets, spec.Container.User = []driver.Secret{{Name: "one", Path: "/one"}}, "builder"
	if user := build(t, Config{}, spec).Spec.Containers[0].SecurityContext.RunAsUser; user != nil {
		t.Errorf("the keeper is %d, as all containers: the kubelet hides the token from the command", *user)
	}
	spec.Secrets = []driver.Secret{{Name: "own", Path: accountPath}}
	pod = build(t, Config{}, spec)
	if names := have(pod, volSecrets); len(names) != 3 || have(pod, volAccount) != nil {
		t.Errorf("%v have what the caller has there, and %v the account", names, have(pod, volAccount))
	}
}

// TestSelectable checks which labels of the caller a pod has as such.
func TestSelectable(t *testing.T) {
	labels := map[string]string{
		"build": "7", "A.b_c-d": "", "empty-value": "", "group/name": "x", "-a": "x", "a.": "x", strings.Repeat("k", 63): strings.Repeat("v", 63),
		"url": "https://git.example/x", "long": strings.Repeat("v", 64), "words": "a b", "hyphen": "-",
	}
	want := map[string]string{
		"label.dev.wharfci/build": "7", "label.dev.wharfci/A.b_c-d": "", "label.dev.wharfci/empty-value": "",
		"label.dev.wharfci/" + strings.Repeat("k", 63): strings.Repeat("v", 63),
	}
	if diff := cmp.Diff(want, selectable(labels)); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	pod := build(t, Config{Owner: "one"}, driver.TaskSpec{Container: driver.Container{Image: "alpine"}, Labels: labels})
	if diff := cmp.Diff(labels, userLabels(pod)); diff != "" || pod.Labels["label.dev.wharfci/build"] != "7" || pod.Labels[labelOwner] != sum("one") {
		t.Errorf("the pod has the labels %v, and for List (-want +got):\n%s", pod.Labels, diff)
	}
	many := map[string]string{}
	for i := range 100 {
		many[fmt.Sprintf("key-%03d", i)] = "x"
	}
	got := selectable(many)
	if _, ok := got["label.dev.wharfci/key-063"]; len(got) != 64 || !ok {
		t.Errorf("of 100 labels the pod has %d: %v", len(got), got)
	}
}

func TestRefuse(t *testing.T) {
	d := unconnected(t, Config{})
	for field, set := range map[string]func(*driver.TaskSpec){
		"Network.Mode":             func(s *driver.TaskSpec) { s.Network.Mode = driver.NetworkNone },
		"Container.Resources.PIDs": func(s *driver.TaskSpec) { s.Container.Resources.PIDs = 1 },
		"Container.Platform":       func(s *driver.TaskSpec) { s.Container.Platform = "linux/s390x" },
		"Sandbox":                  func(s *driver.TaskSpec) { s.Sandbox = "x" },
	} {
		spec := driver.TaskSpec{Name: "x", Container: driver.Container{Image: "alpine"}}
		set(&spec)
		if err := d.refuse(&spec); !errors.Is(err, driver.ErrUnsupported) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	spec := driver.TaskSpec{Name: "x", Container: driver.Container{Image: "alpine", Security: driver.Security{Privileged: true}}}
	if err := d.refuse(&spec); !errdefs.IsPermissionDenied(err) {
		t.Errorf("Privileged: %v", err)
	}
}

func TestHandle(t *testing.T) {
	d := unconnected(t, Config{Owner: "one"})
	h := handle{d.objectName(kindTask, strings.Repeat("long.name-", 6)), "0b9f0d5c-6f38-4a55-9c1a-111111111111", sum("one")}
	got, err := d.parse(h.String())
	if err != nil || got != h || len(h.name) > 63 {
		t.Errorf("%v: %v, %v", h, got, err)
	}
	h.owner = sum("two")
	if _, err := d.parse(h.String()); !errdefs.IsNotFound(err) {
		t.Errorf("another owner's handle: %v", err)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
