package drivers

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeMachine has the paths and programs, and answers at sockets as errs says.
func fakeMachine(env map[string]string, errs map[string]error, has ...string) machine {
	return machine{
		os:      "linux",
		getenv:  func(name string) string { return env[name] },
		exists:  func(path string) bool { return slices.Contains(has, path) },
		program: func(name string) bool { return slices.Contains(has, name) },
		dial:    func(path string) error { return errs[path] },
	}
}

func TestFind(t *testing.T) {
	const sock, systemd = "/var/run/docker.sock", "/run/systemd/system"
	for name, c := range map[string]struct {
		find func(machine) finding
		m    machine
		want finding
	}{
		"docker answers":       {findDocker, fakeMachine(nil, nil, sock), finding{State: Works, Where: "unix://" + sock}},
		"docker elsewhere":     {findDocker, fakeMachine(map[string]string{"DOCKER_HOST": "tcp://ci:2375"}, nil), finding{State: Works, Where: "tcp://ci:2375", Mend: "unset DOCKER_HOST"}},
		"docker rootless":      {findDocker, fakeMachine(map[string]string{"XDG_RUNTIME_DIR": "/run/user/7"}, nil, "/run/user/7/docker.sock"), finding{State: Works, Where: "unix:///run/user/7/docker.sock"}},
		"docker not installed": {findDocker, fakeMachine(nil, nil, "apt-get"), finding{State: Missing, Problem: "is not installed", Mend: "sudo apt-get install docker.io"}},
		"docker stopped": {findDocker, fakeMachine(nil, nil, "dockerd", systemd), finding{State: Broken,
			Problem: "is installed, but there is no socket /var/run/docker.sock: the daemon does not run", Mend: "sudo systemctl start docker"}},
		"docker dead": {findDocker, fakeMachine(nil, map[string]error{sock: syscall.ECONNREFUSED}, sock, systemd), finding{State: Broken, Where: "unix://" + sock,
			Problem: "nothing listens at /var/run/docker.sock: the daemon does not run", Mend: "sudo systemctl start docker"}},
		"docker forbidden": {findDocker, fakeMachine(nil, map[string]error{sock: &fs.PathError{Err: syscall.EACCES}}, sock), finding{State: Broken, Where: "unix://" + sock,
			Problem: "you may not use /var/run/docker.sock (permission denied)", Mend: "sudo usermod -aG docker $USER && newgrp docker"}},
		"podman elsewhere": {findPodman, fakeMachine(map[string]string{"CONTAINER_HOST": "tcp://ci:8080"}, nil), finding{State: Works, Where: "tcp://ci:8080", Mend: "unset CONTAINER_HOST"}},
		"podman without API": {findPodman, fakeMachine(nil, nil, "podman", systemd), finding{State: Broken,
			Problem: "is installed, but its API has no socket", Mend: "systemctl --user enable --now podman.socket"}},
		"containerd":        {findContainerd, fakeMachine(nil, nil, "/run/containerd/containerd.sock"), finding{State: Works, Where: "unix:///run/containerd/containerd.sock"}},
		"kubernetes config": {findKubernetes, fakeMachine(map[string]string{"HOME": "/home/me"}, nil, "/home/me/.kube/config"), finding{State: Works, Where: "/home/me/.kube/config", Mend: "kubectl cluster-info"}},
		"kubernetes inside": {findKubernetes, fakeMachine(map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, nil), finding{State: Works, Where: "the cluster that wharf runs in", Mend: "kubectl auth can-i --list"}},
		"kubernetes none":   {findKubernetes, fakeMachine(nil, nil), finding{State: Missing, Problem: "there is no ~/.kube/config, and KUBECONFIG is not set"}},
	} {
		if diff := cmp.Diff(c.want, c.find(c.m)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]string{
		"docker": "", "docker:": "", "docker://": "", "docker:///run/d.sock": "", "docker://host:2375": "", "unix:///run/d.sock": "", "docker://?owner=me": "",
		"containerd": "", "containerd:///run/c.sock?namespace=a&root=/r&state=/s&owner=me&cgroup=/g": "",
		"kubernetes": "", "kubernetes://kind-ci/builds?owner=me": "", "kubernetes:///builds": "", "kubernetes://kubernetes-admin@kubernetes": "",
		"kubernetes://me:secret@ctx": "must not hold a user or password", "kubernetes:ctx": "must be like kubernetes, kubernetes://context/namespace",
		"podman": "", "podman:///run/p.sock?owner=me": "", "podman://host:8080": "",
		"dokcer":                    `there is no such driver, did you mean "docker"?`,
		"lxc":                       "there is no such driver; there are: auto, docker",
		"docker://?color=red":       `unknown parameter "color"; there is: owner`,
		"docker://?owner=a&owner=b": "stands there twice",
		"docker://me:secret@host":   "must not hold a user or password",
		"docker:run/d.sock":         "must be like docker",
		"docker://%zz":              "neither a name nor a URL",
		"docker://h#x":              "must be like docker",
	} {
		_, _, err := parse(name)
		var u *UsageError
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case want != "" && (!errors.As(err, &u) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want a UsageError with %q", name, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

// elsewhere makes containerd a runtime that there is no driver for, as on other systems than Linux.
func elsewhere(t *testing.T) kind {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == "containerd" })
	was := kinds[i]
	kinds[i].open = nil
	t.Cleanup(func() { kinds[i] = was })
	return kinds[i]
}

func TestOpenRefusesWhatIsNotBuiltIn(t *testing.T) {
	elsewhere(t)
	_, err := Open(context.Background(), "containerd")
	var u *UsageError
	if !errors.As(err, &u) || !strings.Contains(err.Error(), "on Linux only; use one of: docker, podman, kubernetes") {
		t.Errorf("error %v, want a UsageError that says so", err)
	}
}

func TestOpenSaysWhatMendsIt(t *testing.T) {
	_, err := Open(context.Background(), "docker:///nonexistent/docker.sock")
	if err == nil || strings.Contains(err.Error(), "capabilities") || !strings.Contains(err.Error(), "docker does not answer") || !strings.Contains(err.Error(), "/nonexistent/docker.sock") {
		t.Errorf("error %v, want it to name the runtime and the socket", err)
	}
}

// What is wrong before a runtime was asked anything is a wrong use.
func TestOpenChecksConfiguration(t *testing.T) {
	for name, want := range map[string]string{
		"docker://?owner=A b": "Owner", "tcp://localhost": "has no port", "docker://localhost/run/x": "both a host and a path",
		"podman://?owner=A b": "Owner", "podman://localhost/run/x": "both a host and a path",
		"kubernetes://ctx?context=other": "two contexts", "kubernetes://?cpu-limit=much": "such as 500m", "kubernetes://?node-selector=pool": "key=value",
		"kubernetes://?gate=perhaps": "true or false", "kubernetes:///Builds": "Namespace",
		"containerd://host": "three slashes", "containerd://?root=here": "must be absolute",
	} {
		_, err := Open(context.Background(), name)
		var u *UsageError
		if !errors.As(err, &u) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "does not answer") || strings.Contains(err.Error(), "configure ") {
			t.Errorf("%s: error %v, want a UsageError with %q", name, err, want)
		}
	}
}

func TestWritten(t *testing.T) {
	for name, want := range map[string]string{
		"docker": "docker", "docker://": "docker", "docker://?owner=me": "docker://?owner=me", "unix:///run/d.sock": "unix:///run/d.sock", "tcp://h:1?owner=me": "tcp://h:1?owner=me",
	} {
		_, u, err := parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := written(u); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestAutoExplainsEach(t *testing.T) {
	_, err := auto(context.Background(), fakeMachine(nil, map[string]error{"/run/containerd/containerd.sock": syscall.EACCES}, "apt-get", "/run/containerd/containerd.sock"))
	want := `no container runtime can be used:
  docker:     is not installed
  try:        sudo apt-get install docker.io
  podman:     is not installed
  try:        sudo apt-get install podman
  containerd: you may not use /run/containerd/containerd.sock (permission denied)
  try:        run wharf as root
  kubernetes: there is no ~/.kube/config, and KUBECONFIG is not set`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAutoTakesDocker(t *testing.T) {
	o, err := Open(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Driver.Close()
	if !o.Chosen || !strings.HasPrefix(o.Capabilities.Runtime, "docker ") {
		t.Errorf("opened %q (chosen %t), want docker", o.Capabilities.Runtime, o.Chosen)
	}
}

// Advice for a runtime that cannot be used anyway would lead nowhere.
func TestInspectGivesNoAdviceWithoutDriver(t *testing.T) {
	k := elsewhere(t)
	if r := k.inspect(context.Background(), fakeMachine(nil, nil, "containerd")); r.State != NotBuiltIn || r.Problem != noDriver || r.Mend != "" {
		t.Errorf("%+v", r)
	}
}

func TestInspect(t *testing.T) {
	reports := Inspect(context.Background())
	if len(reports) != len(kinds) || reports[0].Name != "docker" || reports[0].State != Works || !slices.Contains(reports[0].Can, "Exec") {
		t.Errorf("reports %+v, want docker to work", reports)
	}
}
