package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
)

const (
	copyBytes = 256 << 20
	copyPath  = "/big"
)

var makeBig = []string{"dd", "if=/dev/urandom", "of=" + copyPath, "bs=1M", fmt.Sprintf("count=%d", copyBytes>>20)}

// floorCopy reads the file out of an ended container with the bare API.
func (b *bench) floorCopy(ctx context.Context) (took time.Duration, err error) {
	made, err := b.docker.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &container.Config{Image: image, Cmd: makeBig}})
	if err != nil {
		return 0, err
	}
	defer func() {
		_, rerr := b.docker.ContainerRemove(context.WithoutCancel(ctx), made.ID, client.ContainerRemoveOptions{Force: true})
		err = errors.Join(err, rerr)
	}()
	wait := b.docker.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := b.docker.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return 0, err
	}
	select {
	case <-wait.Result:
	case err := <-wait.Error:
		return 0, err
	}
	begin := time.Now()
	got, err := b.docker.CopyFromContainer(ctx, made.ID, client.CopyFromContainerOptions{SourcePath: copyPath})
	if err != nil {
		return 0, err
	}
	defer got.Content.Close()
	err = readBig(got.Content)
	return time.Since(begin), err
}

// copyOut does the same through the driver.
func (b *bench) copyOut(ctx context.Context) (s sample, err error) {
	d, err := docker.New(docker.Config{Owner: "bench"})
	if err != nil {
		return s, err
	}
	defer d.Close()
	id, err := d.Create(ctx, driver.TaskSpec{Name: "copy-out", Container: driver.Container{Image: image, Args: makeBig}})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, d.Remove(context.WithoutCancel(ctx), id)) }()
	if err := d.Start(ctx, id); err != nil {
		return s, err
	}
	if res, err := d.Wait(ctx, id); err != nil || !res.Succeeded() {
		return s, fmt.Errorf("making the file: %v, %w", res, err)
	}
	begin := time.Now()
	out, err := d.CopyOut(ctx, driver.CopyOutOptions{Place: driver.Place{Task: id}, Path: copyPath})
	if err != nil {
		return s, err
	}
	defer out.Close()
	err = readBig(out)
	s.wall = time.Since(begin)
	return s, err
}

// readBig reads a tar stream to its end and checks that it holds the whole file.
func readBig(stream io.Reader) error {
	archive := tar.NewReader(stream)
	if _, err := archive.Next(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, archive)
	if err == nil && n != copyBytes {
		err = fmt.Errorf("the file has %d bytes, want %d", n, copyBytes)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stream)
	return err
}
