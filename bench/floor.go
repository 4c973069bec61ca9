package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// step is one naive step: it returns when the container has ended, its output has been read to the end, and it is gone.
func (b *bench) step(ctx context.Context, argv []string, out io.Writer) (err error) {
	made, err := b.docker.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: image, Cmd: argv},
		HostConfig: &container.HostConfig{},
	})
	if err != nil {
		return err
	}
	defer func() {
		_, rerr := b.docker.ContainerRemove(context.WithoutCancel(ctx), made.ID, client.ContainerRemoveOptions{Force: true})
		err = errors.Join(err, rerr)
	}()
	stream, err := b.docker.ContainerAttach(ctx, made.ID, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	defer stream.Close()
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, stream.Reader)
		read <- err
	}()
	wait := b.docker.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := b.docker.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return err
	}
	select {
	case res := <-wait.Result:
		if res.StatusCode != 0 {
			return fmt.Errorf("%q: exit code %d", argv, res.StatusCode)
		}
	case err := <-wait.Error:
		return err
	}
	return <-read
}

// floorSequence runs the commands one after another.
func (b *bench) floorSequence(argvs [][]string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		begin := time.Now()
		for _, argv := range argvs {
			if err := b.step(ctx, argv, io.Discard); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
}

// floorParallel runs the commands all at once.
func (b *bench) floorParallel(argvs [][]string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		begin := time.Now()
		errs := make([]error, len(argvs))
		var group sync.WaitGroup
		for i, argv := range argvs {
			group.Go(func() { errs[i] = b.step(ctx, argv, io.Discard) })
		}
		group.Wait()
		return time.Since(begin), errors.Join(errs...)
	}
}

// floorLines reads the many lines into a file, as the attached stream brings them.
func (b *bench) floorLines() func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		file, err := os.Create(filepath.Join(b.dir, "floor.log"))
		if err != nil {
			return 0, err
		}
		defer file.Close()
		begin := time.Now()
		err = b.step(ctx, []string{"sh", "-c", printLines}, file)
		return time.Since(begin), err
	}
}
