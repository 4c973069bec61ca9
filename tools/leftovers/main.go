// Leftovers runs a command and fails if the command left containers, volumes or networks of Wharf on the Docker daemon.
//
//	leftovers [-containerd|-podman|-kubernetes] COMMAND [ARG…]
//
// With -containerd it looks at the containerd of CONTAINERD_ADDRESS, at all its namespaces, and at the mounts and network devices of the machine;
// with -podman at the service of CONTAINER_HOST, with -kubernetes at all namespaces of the cluster of KUBECONFIG.
//
// What was there before is not counted. If the command fails its exit code is kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/moby/moby/client"
)

// labelPrefix is what the label keys of all that Wharf makes on a runtime begin with.
const labelPrefix = "dev.wharfci"

func main() {
	onContainerd := flag.Bool("containerd", false, "look at containerd instead of Docker")
	onPodman := flag.Bool("podman", false, "look at Podman instead of Docker")
	onKubernetes := flag.Bool("kubernetes", false, "look at Kubernetes instead of Docker")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: leftovers [-containerd|-podman|-kubernetes] COMMAND [ARG…]")
		os.Exit(2)
	}
	list := listDocker
	switch {
	case *onContainerd:
		list = listContainerd
	case *onPodman:
		list = listPodman
	case *onKubernetes:
		list = listKubernetes
	}
	code, err := run(context.Background(), list, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "leftovers:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// lister returns all that Wharf has on a runtime, by id, each with a line for a person.
type lister func(context.Context) (map[string]string, error)

func run(ctx context.Context, list lister, argv []string) (code int, err error) {
	before, err := list(ctx)
	if err != nil {
		return 1, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = max(exit.ExitCode(), 1)
	} else if err != nil {
		return 1, err
	}
	after, err := list(ctx)
	if err != nil {
		return code, err
	}
	maps.DeleteFunc(after, func(id, _ string) bool { return before[id] != "" })
	if len(after) > 0 {
		return code, fmt.Errorf("left on the runtime:\n  %s", strings.Join(slices.Sorted(maps.Values(after)), "\n  "))
	}
	return code, nil
}

// finds are what was found, by id, each with a line for a person.
type finds map[string]string

// add adds something, if its labels say that it is ours.
func (f finds) add(kind, id, name string, labels map[string]string) {
	var ours []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if strings.HasPrefix(k, labelPrefix) {
			ours = append(ours, k[len(labelPrefix)+1:]+"="+labels[k])
		}
	}
	if ours != nil {
		f[kind+id] = fmt.Sprintf("%s %s (%s)", kind, name, strings.Join(ours, ", "))
	}
}

func listDocker(ctx context.Context) (map[string]string, error) {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	found := finds{}
	containers, err := docker.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, err
	}
	for _, c := range containers.Items {
		found.add("container", c.ID, strings.Join(c.Names, " "), c.Labels)
	}
	volumes, err := docker.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes.Items {
		found.add("volume", v.Name+v.CreatedAt, v.Name, v.Labels)
	}
	networks, err := docker.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, err
	}
	for _, n := range networks.Items {
		found.add("network", n.ID, n.Name, n.Labels)
	}
	return found, nil
}
