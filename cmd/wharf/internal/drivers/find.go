package drivers

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// finding is what there is of a runtime on a machine.
type finding struct {
	// State is [Works] if it may answer, and else Broken or Missing.
	State State
	// Where is the socket or address.
	Where string
	// Problem says what is wrong, if something is; Mend is the command that should mend it, or what might be wrong if
	// nothing answers; it may be empty.
	Problem, Mend string
}

func findDocker(m machine) finding {
	if host := m.getenv("DOCKER_HOST"); host != "" {
		return finding{State: Works, Where: host, Mend: "unset DOCKER_HOST"}
	}
	if m.getenv("DOCKER_CONTEXT") != "" || dockerContext(m) {
		return finding{State: Works, Where: "the current Docker context"}
	}
	path := m.socket("/var/run/docker.sock", m.runtimeDir("/docker.sock"))
	switch {
	case path != "":
		return m.answers(path, dockerStart(m), "sudo usermod -aG docker $USER && newgrp docker")
	case m.program("dockerd"):
		return finding{State: Broken, Problem: "is installed, but there is no socket /var/run/docker.sock: the daemon does not run", Mend: dockerStart(m)}
	case m.program("docker"):
		return finding{State: Broken, Problem: "the command is there, but no daemon (no /var/run/docker.sock; DOCKER_HOST is not set)", Mend: dockerStart(m)}
	}
	mend := m.install("docker.io", "moby-engine", "docker", "--cask docker")
	return finding{State: Missing, Problem: "is not installed", Mend: mend}
}

// dockerContext reports whether the Docker configuration may name a daemon.
func dockerContext(m machine) bool {
	dir := m.getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = m.getenv("HOME") + "/.docker"
	}
	return m.exists(dir + "/contexts/meta")
}

func dockerStart(m machine) string {
	if m.os == "darwin" {
		return "open -a Docker"
	}
	return m.start("docker", "sudo sh -c 'dockerd >/var/log/dockerd.log 2>&1 &'")
}

func findPodman(m machine) finding {
	if host := m.getenv("CONTAINER_HOST"); host != "" {
		return finding{State: Works, Where: host, Mend: "unset CONTAINER_HOST"}
	}
	path := m.socket(m.runtimeDir("/podman/podman.sock"), "/run/podman/podman.sock")
	start := "podman system service --time=0 &"
	if m.exists("/run/systemd/system") {
		start = "systemctl --user enable --now podman.socket"
	}
	switch {
	case path != "":
		return m.answers(path, start, start)
	case m.program("podman"):
		return finding{State: Broken, Problem: "is installed, but its API has no socket", Mend: start}
	}
	return finding{State: Missing, Problem: "is not installed", Mend: m.install("podman", "podman", "podman", "podman")}
}

func findContainerd(m machine) finding {
	path := m.getenv("CONTAINERD_ADDRESS")
	if path == "" {
		path = m.socket("/run/containerd/containerd.sock") // those of Docker and Kubernetes are theirs
	}
	switch {
	case path != "":
		return m.answers(path, m.start("containerd", "sudo sh -c 'containerd >/var/log/containerd.log 2>&1 &'"), "run wharf as root")
	case m.program("containerd"):
		return finding{State: Broken, Problem: "is installed, but does not run", Mend: m.start("containerd", "sudo sh -c 'containerd >/var/log/containerd.log 2>&1 &'")}
	}
	return finding{State: Missing, Problem: "is not installed", Mend: m.install("containerd", "containerd", "containerd", "")}
}

func findKubernetes(m machine) finding {
	if m.getenv("KUBERNETES_SERVICE_HOST") != "" {
		return finding{State: Works, Where: "the cluster that wharf runs in", Mend: "kubectl auth can-i --list"}
	}
	for _, path := range append(strings.Split(m.getenv("KUBECONFIG"), string(os.PathListSeparator)), m.getenv("HOME")+"/.kube/config") {
		if path != "" && m.exists(path) {
			return finding{State: Works, Where: path, Mend: "kubectl cluster-info"}
		}
	}
	return finding{State: Missing, Problem: "there is no ~/.kube/config, and KUBECONFIG is not set"}
}

// answers looks whether someone listens at a socket, and says what to do if not.
func (m machine) answers(path, start, allow string) finding {
	f := finding{State: Works, Where: "unix://" + path}
	switch err := m.dial(path); {
	case err == nil:
	case errors.Is(err, fs.ErrPermission):
		f.State, f.Problem, f.Mend = Broken, "you may not use "+path+" (permission denied)", allow
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		f.State, f.Problem, f.Mend = Broken, "nothing listens at "+path+": the daemon does not run", start
	default:
		f.State, f.Problem, f.Mend = Broken, path+": "+err.Error(), start
	}
	return f
}

// explain says what an error of the runtime at u means, and what might mend it.
func (k kind) explain(m machine, u *url.URL, err error) finding {
	var f finding
	switch {
	case u.Host != "":
	case k.local && u.Path != "" && u.Path != "/":
		f = m.answers(u.Path, "", "")
		if !m.exists(u.Path) {
			f.Mend = "wharf doctor (it shows which sockets there are)"
		}
	default:
		f = k.find(m)
	}
	if f.Problem == "" {
		f.State, f.Problem = Broken, err.Error()
	}
	if strings.Contains(strings.ToLower(err.Error()), "api version") {
		f.Mend = "install a newer " + k.name
	}
	return f
}
