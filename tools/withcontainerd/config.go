//go:build linux

package main

import (
	"path/filepath"
	"strings"
)

func settingsFile(dir string) string { return filepath.Join(dir, "config.toml") }

// config is the daemon's: everything below the run's directory, and nothing of Kubernetes.
func config(dir string) string {
	return strings.ReplaceAll(`version = 2
root = "DIR/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "`+socket+`"
`, "DIR", dir)
}

// criConfig is the same for a daemon that serves a kubelet. Scores for the kernel's choice of what to kill cannot be lowered everywhere,
// and without the restriction no pod would start there.
func criConfig(dir string) string {
	return strings.ReplaceAll(`version = 2
root = "DIR/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "`+socket+`"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "`+pauseImage+`"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "DIR/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
`, "DIR", dir)
}

// pauseImage holds the namespaces of a pod; whoever starts the kubelet loads it.
const pauseImage = "localhost/wharf/kubernetes-pause:1"
