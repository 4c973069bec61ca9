//go:build linux

package containerdtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Labels that are on what the driver makes.
const (
	ownerLabel = "dev.wharfci.owner"
	nameLabel  = "dev.wharfci.name"
)

// outside reaches the daemon behind the driver's back.
type outside struct{ address, namespace, snapshotter, root, state string }

// ask calls f with a connection of its own, which is closed again.
func (o outside) ask(ctx context.Context, f func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, o.namespace), time.Minute)
	defer cancel()
	c, err := client.New(o.address)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, c), c.Close())
}

func (o outside) load(ctx context.Context, images io.Reader) error {
	return o.ask(ctx, func(ctx context.Context, c *client.Client) error {
		_, err := c.Import(ctx, images)
		return err
	})
}

func containerID(id driver.TaskID) string {
	c, _, _ := strings.Cut(string(id), ".")
	return c
}

// remove does what "ctr tasks delete --force" and "ctr containers delete" do.
func (o outside) remove(ctx context.Context, id driver.TaskID) error {
	return o.ask(ctx, func(ctx context.Context, c *client.Client) error {
		container, err := c.LoadContainer(ctx, containerID(id))
		if err != nil {
			return err
		}
		task, err := container.Task(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := task.Delete(ctx, client.WithProcessKill); err != nil {
			return err
		}
		return container.Delete(ctx, client.WithSnapshotCleanup)
	})
}

func (o outside) signal(ctx context.Context, id driver.TaskID, signal int) error {
	return o.ask(ctx, func(ctx context.Context, c *client.Client) error {
		_, err := c.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: containerID(id), Signal: uint32(signal)})
		return err
	})
}

// shown is all that the daemon shows of a task: the record of its container, specification and labels included, its process,
// its snapshot and its image.
func (o outside) shown(ctx context.Context, id driver.TaskID) (string, error) {
	var all strings.Builder
	err := o.ask(ctx, func(ctx context.Context, c *client.Client) error {
		container, err := c.LoadContainer(ctx, containerID(id))
		if err != nil {
			return err
		}
		info, err := container.Info(ctx)
		if err != nil {
			return err
		}
		task, err := c.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: info.ID})
		if err != nil {
			return err
		}
		snapshot, err := c.SnapshotService(info.Snapshotter).Stat(ctx, info.SnapshotKey)
		if err != nil {
			return err
		}
		image, err := c.ImageService().Get(ctx, info.Image)
		fmt.Fprintf(&all, "%+v %s %+v %+v %+v", info, info.Spec.GetValue(), task, snapshot, image)
		return err
	})
	return all.String(), err
}

func (o outside) removeImage(ctx context.Context, image string) error {
	return o.ask(ctx, func(ctx context.Context, c *client.Client) error {
		if err := c.ImageService().Delete(ctx, image); !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	})
}

// left looks into the daemon and into the directories.
func (o outside) left(ctx context.Context, owner string) ([]string, error) {
	var all []string
	err := o.ask(ctx, func(ctx context.Context, c *client.Client) error {
		containers, err := c.ContainerService().List(ctx, fmt.Sprintf("labels.%q==%q", ownerLabel, owner))
		for _, c := range containers {
			all = append(all, "container "+c.ID+" of "+c.Labels[nameLabel])
		}
		if err != nil {
			return err
		}
		return c.SnapshotService(o.snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			all = append(all, "snapshot "+info.Name)
			return nil
		}, fmt.Sprintf("labels.%q==%q", ownerLabel, owner))
	})
	if err != nil {
		return nil, err
	}
	for kind, dir := range map[string]string{"volume": filepath.Join(o.root, "volumes"), "sandbox": filepath.Join(o.state, "sandboxes")} {
		files, err := filepath.Glob(filepath.Join(dir, "*", "record.json"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			var record struct{ Owner, Name string }
			text, err := os.ReadFile(file)
			if err == nil && json.Unmarshal(text, &record) == nil && record.Owner == owner {
				all = append(all, kind+" "+record.Name)
			}
		}
	}
	return all, nil
}
