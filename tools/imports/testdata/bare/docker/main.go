// Command docker does what examples/docker does with nothing but Docker's own client: what a program of that kind weighs without
// Wharf.
package main

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

func main() {
	api, err := client.New(client.FromEnv)
	if err != nil {
		log.Fatal(err)
	}
	defer api.Close()
	if err := run(context.Background(), api, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, api *client.Client, image string) error {
	pull, err := api.ImagePull(ctx, image, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	if err := pull.Wait(ctx); err != nil {
		return err
	}
	made, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config: &container.Config{Image: image, Cmd: []string{"sh", "-c", "echo hello, world | tee /tmp/greeting"}},
	})
	if err != nil {
		return err
	}
	defer api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true})
	wait := api.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	logs, err := api.ContainerLogs(ctx, made.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err != nil {
		return err
	}
	defer logs.Close()
	if _, err := stdcopy.StdCopy(os.Stdout, os.Stderr, logs); err != nil {
		return err
	}
	select {
	case err := <-wait.Error:
		return err
	case res := <-wait.Result:
		fmt.Println("exited with code", res.StatusCode)
	}
	out, err := api.CopyFromContainer(ctx, made.ID, client.CopyFromContainerOptions{SourcePath: "/tmp/greeting"})
	if err != nil {
		return err
	}
	defer out.Content.Close()
	files := tar.NewReader(out.Content)
	header, err := files.Next()
	if err != nil {
		return err
	}
	fmt.Printf("%s: ", header.Name)
	_, err = io.Copy(os.Stdout, files)
	return err
}
