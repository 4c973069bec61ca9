//go:build linux

// Command containerd does what examples/containerd does with nothing but containerd's own client: what a program of that kind weighs without
// Wharf. It has no network, and reads the file while the container still holds its file system.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
)

func main() {
	api, err := client.New(defaults.DefaultAddress)
	if err != nil {
		log.Fatal(err)
	}
	defer api.Close()
	if err := run(namespaces.WithNamespace(context.Background(), "example"), api, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, api *client.Client, name string) error {
	image, err := api.Pull(ctx, name, client.WithPullUnpack)
	if err != nil {
		return err
	}
	c, err := api.NewContainer(ctx, "hello", client.WithImage(image), client.WithNewSnapshot("hello", image),
		client.WithNewSpec(oci.WithImageConfigArgs(image, []string{"sh", "-c", "echo hello, world | tee /tmp/greeting"})))
	if err != nil {
		return err
	}
	defer c.Delete(ctx, client.WithSnapshotCleanup)
	task, err := c.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, os.Stdout, os.Stderr)))
	if err != nil {
		return err
	}
	defer task.Delete(ctx, client.WithProcessKill)
	wait, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if err := task.Start(ctx); err != nil {
		return err
	}
	end := <-wait
	task.IO().Wait()
	fmt.Println("exited with code", end.ExitCode())
	mounts, err := api.SnapshotService("").Mounts(ctx, "hello")
	if err != nil {
		return err
	}
	return mount.WithTempMount(ctx, mounts, func(root string) error {
		file, err := os.Open(filepath.Join(root, "tmp", "greeting"))
		if err != nil {
			return err
		}
		defer file.Close()
		fmt.Print("greeting: ")
		_, err = io.Copy(os.Stdout, file)
		return err
	})
}
