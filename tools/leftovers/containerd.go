package main

import (
	"bufio"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// listContainerd lists containers and snapshots by their labels. What the driver keeps beside the daemon, and what a shim leaves that has died,
// shows as mounts, and as network devices on the driver's bridges.
func listContainerd(ctx context.Context) (map[string]string, error) {
	c, err := client.New(cmp.Or(os.Getenv("CONTAINERD_ADDRESS"), defaults.DefaultAddress))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	spaces, err := c.NamespaceService().List(ctx)
	if err != nil {
		return nil, err
	}
	found := finds{}
	for _, space := range spaces {
		if space == kubelets {
			continue // they bear the labels of pods, and go some time after these
		}
		if err := listNamespace(namespaces.WithNamespace(ctx, space), c, found); err != nil {
			return nil, err
		}
	}
	listDevices(found)
	return found, listMounts(found)
}

func listNamespace(ctx context.Context, c *client.Client, found finds) error {
	containers, err := c.ContainerService().List(ctx)
	if err != nil {
		return err
	}
	for _, c := range containers {
		found.add("container", c.ID, c.ID, c.Labels)
	}
	return c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, s snapshots.Info) error {
		found.add("snapshot", s.Name, s.Name, s.Labels)
		return nil
	})
}

// kubelets is the namespace of a kubelet's containers, where the containerd is a node's.
const kubelets = "k8s.io"

// bridgePrefix is what the names of the driver's bridges begin with. The bridges themselves may stay.
const bridgePrefix = "wh"

func listDevices(found finds) {
	ports, _ := filepath.Glob("/sys/class/net/" + bridgePrefix + "*/brif/*")
	for _, p := range ports {
		found["device"+p] = "network device " + p
	}
}

// listMounts finds file systems of containers, and network namespaces, but for those of a kubelet.
func listMounts(found finds) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && !strings.Contains(fields[4], "/k8s.io/") && !strings.Contains(fields[4], "/netns/cni-") && (strings.Contains(fields[4], "/io.containerd.runtime.v2.task/") || strings.Contains(fields[4], "/netns/")) {
			found["mount"+fields[4]] = "mount " + fields[4]
		}
	}
	return lines.Err()
}
