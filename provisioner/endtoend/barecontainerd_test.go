package endtoend

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wharfci/wharf/driver/containerd"
)

// bareContainerd is containerd's own client. Networks are no part of containerd: as other clients of it do, this one has CNI's plugins connect a container
// before it is started.
type bareContainerd struct {
	*client.Client
	dir     string // of volumes
	cni     *libcni.CNIConfig
	network *libcni.NetworkConfigList
}

// bareBridge is the bridge of the containers' network.
const bareBridge = "whfloor"

func newBareContainerd(t testing.TB) bareContainerd {
	t.Helper()
	_, at := address(t, "containerd")
	c, err := client.New(at, client.WithDefaultNamespace("wharf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b := bareContainerd{Client: c, dir: t.TempDir()}
	plugins := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}} // libcni makes one itself when it is first used, and races
	b.cni = libcni.NewCNIConfigWithCacheDir(containerd.Config{}.WithDefaults().CNI, filepath.Join(b.dir, "cni"), plugins)
	b.network, err = libcni.ConfListFromBytes(fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": %q, "plugins": [
		{"type": "bridge", "bridge": %[1]q, "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local", "dataDir": %[2]q,
			"ranges": [[{"subnet": "10.86.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		{"type": "firewall", "ingressPolicy": "same-bridge"}]}`, bareBridge, filepath.Join(b.dir, "ipam")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", bareBridge).Run() }) // there is none if nothing was started
	return b
}

// connection is what CNI calls a container's network.
func connection(name string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: name, NetNS: "/run/netns/" + name, IfName: "eth0"}
}

// in is the context with the namespace of containerd that has the images.
func (c bareContainerd) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, c.DefaultNamespace())
}

func (c bareContainerd) volume(_ context.Context, name string) error {
	return os.Mkdir(filepath.Join(c.dir, name), 0o755)
}

func (c bareContainerd) removeVolume(_ context.Context, name string) error {
	return os.RemoveAll(filepath.Join(c.dir, name))
}

func (c bareContainerd) create(ctx context.Context, name, image, volume string, command ...string) error {
	ctx = c.in(ctx)
	i, err := c.GetImage(ctx, image)
	if err != nil {
		return err
	}
	if there, err := i.IsUnpacked(ctx, "overlayfs"); err != nil || !there {
		if err := i.Unpack(ctx, "overlayfs"); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"netns", "add", name}, {"-n", name, "link", "set", "lo", "up"}} {
		if err := exec.CommandContext(ctx, "ip", args...).Run(); err != nil {
			return fmt.Errorf("ip %s: %w", args, err)
		}
	}
	space := specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: connection(name).NetNS}
	work := specs.Mount{Type: "bind", Source: filepath.Join(c.dir, volume), Destination: "/work", Options: []string{"rbind", "rw"}}
	_, err = c.NewContainer(ctx, name, client.WithSnapshotter("overlayfs"), client.WithImage(i), client.WithNewSnapshot(name, i), client.WithNewSpec(
		oci.WithImageConfig(i), oci.WithProcessArgs(command...), oci.WithMounts([]specs.Mount{work}), oci.WithLinuxNamespace(space),
		oci.WithCgroup(os.Getenv(cgroupEnv)+"/"+name)))
	return err
}

func (c bareContainerd) start(ctx context.Context, name string) error {
	ctx = c.in(ctx)
	it, err := c.LoadContainer(ctx, name)
	if err != nil {
		return err
	}
	if _, err := c.cni.AddNetworkList(ctx, c.network, connection(name)); err != nil {
		return err
	}
	task, err := it.NewTask(ctx, cio.NullIO)
	if err != nil {
		return err
	}
	return task.Start(ctx)
}

func (c bareContainerd) wait(ctx context.Context, name string) error {
	ctx = c.in(ctx)
	it, err := c.LoadContainer(ctx, name)
	if err != nil {
		return err
	}
	task, err := it.Task(ctx, nil)
	if err != nil {
		return err
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	status := <-exit
	if status.Error() != nil {
		return status.Error()
	}
	return exited(int(status.ExitCode()))
}

func (c bareContainerd) remove(ctx context.Context, name string) error {
	ctx = c.in(ctx)
	it, err := c.LoadContainer(ctx, name)
	if err != nil {
		return err
	}
	if task, err := it.Task(ctx, nil); err == nil {
		if _, err := task.Delete(ctx, client.WithProcessKill); err != nil {
			return err
		}
	}
	return first(
		func() error { return it.Delete(ctx, client.WithSnapshotCleanup) },
		func() error { return c.cni.DelNetworkList(ctx, c.network, connection(name)) },
		func() error { return exec.CommandContext(ctx, "ip", "netns", "delete", name).Run() })
}
