package endtoend

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// bareContainerd is containerd's own client. Its containers have the machine's network: to set up one of their own is no part of containerd.
type bareContainerd struct {
	*client.Client
	dir string // of volumes
}

func newBareContainerd(t testing.TB) bareContainerd {
	t.Helper()
	_, at := address(t, "containerd")
	c, err := client.New(at, client.WithDefaultNamespace("wharf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return bareContainerd{c, t.TempDir()}
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
	work := specs.Mount{Type: "bind", Source: filepath.Join(c.dir, volume), Destination: "/work", Options: []string{"rbind", "rw"}}
	_, err = c.NewContainer(ctx, name, client.WithSnapshotter("overlayfs"), client.WithImage(i), client.WithNewSnapshot(name, i), client.WithNewSpec(
		oci.WithImageConfig(i), oci.WithProcessArgs(command...), oci.WithMounts([]specs.Mount{work}), oci.WithHostNamespace(specs.NetworkNamespace),
		oci.WithCgroup(os.Getenv(cgroupEnv)+"/"+name)))
	return err
}

func (c bareContainerd) start(ctx context.Context, name string) error {
	ctx = c.in(ctx)
	it, err := c.LoadContainer(ctx, name)
	if err != nil {
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
	return it.Delete(ctx, client.WithSnapshotCleanup)
}
