//go:build linux

package containerd

import (
	"context"
	"errors"
	"io"
	"strconv"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/internal/survive"
)

// The floor is what a program does that has containerd's client and nothing else: a container with a snapshot, its output through
// pipes into the program. It has no network but the loopback device.

func benchDriver(b *testing.B) *Driver {
	c := newDaemon(b)
	d := c.driver(c.config())
	if _, err := d.localImage(d.ctx, drivertest.Image); err != nil { // which unpacks it
		b.Fatal(err)
	}
	return d
}

// counter counts what is written.
type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

// bareRun runs the suite's program and returns how many bytes it printed.
func bareRun(ctx context.Context, d *Driver, name string, args ...string) (n int64, err error) {
	image, err := d.client.GetImage(ctx, drivertest.Image)
	if err != nil {
		return 0, err
	}
	c, err := d.client.NewContainer(ctx, name, client.WithImage(image), client.WithNewSnapshot(name, image),
		client.WithNewSpec(oci.WithImageConfigArgs(image, args), oci.WithCgroup(d.cgroup(name))))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Delete(ctx, client.WithSnapshotCleanup)) }()
	var out counter
	task, err := c.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, &out, io.Discard)))
	if err != nil {
		return 0, err
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if err := task.Start(ctx); err != nil {
		return 0, err
	}
	<-exit
	task.IO().Wait()
	_, err = task.Delete(ctx)
	return out.n, err
}

// ourRun does the same through the driver.
func ourRun(ctx context.Context, d *Driver, box driver.SandboxID, name string, args ...string) (lines int, err error) {
	spec := program(name, args...)
	spec.Sandbox = box
	id, err := d.Create(ctx, spec)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Remove(ctx, id)) }()
	return survive.Run(ctx, d, id)
}

// BenchmarkStep runs a container that does nothing, in a sandbox that was made before, as a build's steps are.
func BenchmarkStep(b *testing.B) {
	d := benchDriver(b)
	b.Run("bare", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := bareRun(d.ctx, d, "bench-"+strconv.Itoa(i), "exit", "0"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("driver", func(b *testing.B) {
		box, err := d.CreateSandbox(b.Context(), driver.SandboxSpec{Name: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		defer func() {
			if err := d.RemoveSandbox(d.ctx, box); err != nil {
				b.Error(err)
			}
		}()
		for i := 0; b.Loop(); i++ {
			if _, err := ourRun(b.Context(), d, box, "bench-"+strconv.Itoa(i), "exit", "0"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFlood reads a million lines of 100 bytes.
func BenchmarkFlood(b *testing.B) {
	const lines = 1_000_000
	d := benchDriver(b)
	flood := []string{"lines", strconv.Itoa(lines), "99"}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if n, err := bareRun(d.ctx, d, "bench-flood", flood...); err != nil || n != lines*100 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			if n, err := ourRun(b.Context(), d, "", "bench-flood", flood...); err != nil || n != lines {
				b.Fatal(n, err)
			}
		}
	})
}
