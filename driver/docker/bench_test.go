//go:build unix

package docker

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// flood prints a million lines of 100 bytes.
const flood = "awk 'BEGIN{s=\"\"; for(i=0;i<92;i++) s=s \"x\"; for(i=0;i<1000000;i++) printf \"%07d%s\\n\", i, s}'"

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFlood reads a million lines live and proves that none is missing.
func BenchmarkFlood(b *testing.B) {
	d := open(b)
	ctx := context.Background()
	for b.Loop() {
		id := create(b, d, driver.TaskSpec{Container: sh(flood)})
		r, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
		if err != nil {
			b.Fatal(err)
		}
		cpu := cpuTime()
		if err := d.Start(ctx, id); err != nil {
			b.Fatal(err)
		}
		n := 0
		for {
			_, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 1_000_000 {
			b.Errorf("%d lines", n)
		}
		b.ReportMetric((cpuTime() - cpu).Seconds(), "cpu-s/op")
		_ = r.Close()
	}
}

// BenchmarkFloodBare is the floor: the same by the bare API with the given log driver.
func BenchmarkFloodBare(b *testing.B) {
	for _, log := range []string{"local", "json-file"} {
		b.Run(log, func(b *testing.B) {
			d := open(b)
			ctx := context.Background()
			for b.Loop() {
				host := &container.HostConfig{LogConfig: logConfig}
				if log != "local" {
					host.LogConfig = container.LogConfig{Type: log}
				}
				c, err := d.api.ContainerCreate(ctx, client.ContainerCreateOptions{
					Config: &container.Config{Image: image, Cmd: []string{"sh", "-c", flood}}, HostConfig: host,
				})
				if err != nil {
					b.Fatal(err)
				}
				conn, err := d.api.ContainerAttach(ctx, c.ID, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := d.api.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
					b.Fatal(err)
				}
				if n, err := stdcopy.StdCopy(io.Discard, io.Discard, conn.Reader); err != nil || n != 100_000_000 {
					b.Error(n, err)
				}
				conn.Close()
				if err := d.removeContainer(ctx, c.ID); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// BenchmarkCopyOut reads a file of 256 MiB through the driver and by the bare API.
func BenchmarkCopyOut(b *testing.B) {
	d := open(b)
	ctx := context.Background()
	id := create(b, d, driver.TaskSpec{Container: sh("dd if=/dev/zero of=/big bs=1M count=256 2>/dev/null")})
	if err := d.Start(ctx, id); err != nil {
		b.Fatal(err)
	}
	if res, err := d.Wait(ctx, id); err != nil || !res.Succeeded() {
		b.Fatal(res, err)
	}
	read := func(b *testing.B, open func() (io.ReadCloser, error)) {
		b.SetBytes(256 << 20)
		for b.Loop() {
			r, err := open()
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n < 256<<20 {
				b.Fatal(n, err)
			}
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("bare", func(b *testing.B) {
		read(b, func() (io.ReadCloser, error) {
			h, err := d.parse(string(id))
			if err != nil {
				return nil, err
			}
			res, err := d.api.CopyFromContainer(ctx, h.container, client.CopyFromContainerOptions{SourcePath: "/big"})
			return res.Content, err
		})
	})
	b.Run("driver", func(b *testing.B) {
		read(b, func() (io.ReadCloser, error) {
			return d.CopyOut(ctx, driver.CopyOutOptions{Place: driver.Place{Task: id}, Path: "/big"})
		})
	})
}
