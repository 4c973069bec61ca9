package podman

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"testing"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/survive"
)

// The floor is what a program does that has Podman's API and nothing else: for each step a container on the default network, which
// is set up and torn down with it, its output by an attached connection, its end by the call "wait".

// bareRun runs a script like that, and returns how many bytes it printed.
func bareRun(ctx context.Context, d *Driver, script string) (n int64, err error) {
	var made struct{ ID string }
	spec := map[string]any{"image": testImage, "command": []string{"sh", "-c", script}}
	if err := d.api.call(ctx, "POST", "/containers/create", nil, spec, &made); err != nil {
		return 0, err
	}
	at := "/containers/" + made.ID
	defer func() {
		err = errors.Join(err, d.api.call(ctx, "DELETE", at, url.Values{"force": {"true"}, "timeout": {"0"}}, nil, nil))
	}()
	conn, err := d.api.hijack(ctx, at+"/attach", attachQuery, nil)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := d.api.call(ctx, "POST", at+"/start", nil, nil, nil); err != nil {
		return 0, err
	}
	for {
		var header [8]byte // of each piece: its stream and its length
		if _, err := io.ReadFull(conn, header[:]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return n, err
		}
		m, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(header[4:])))
		n += m
		if err != nil {
			return n, err
		}
	}
	var code int
	err = d.api.call(ctx, "POST", at+"/wait", nil, nil, &code)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	return n, err
}

// bareLog runs a script and follows its log.
func bareLog(ctx context.Context, d *Driver, script string) (err error) {
	var made struct{ ID string }
	spec := map[string]any{"image": testImage, "command": []string{"sh", "-c", script}, "log_configuration": keepAll}
	if err := d.api.call(ctx, "POST", "/containers/create", nil, spec, &made); err != nil {
		return err
	}
	at := "/containers/" + made.ID
	defer func() {
		err = errors.Join(err, d.api.call(ctx, "DELETE", at, url.Values{"force": {"true"}, "timeout": {"0"}}, nil, nil))
	}()
	if err := d.api.call(ctx, "POST", at+"/start", nil, nil, nil); err != nil {
		return err
	}
	return d.api.call(ctx, "GET", at+"/logs", url.Values{"stdout": {"true"}, "stderr": {"true"}, "follow": {"true"}, "timestamps": {"true"}}, nil, nil)
}

// ourRun does the same as bareRun through the driver.
func ourRun(ctx context.Context, d *Driver, box driver.SandboxID, script string) (lines int, err error) {
	id, err := d.Create(ctx, driver.TaskSpec{Name: "bench-" + newUID(), Container: sh(script), Sandbox: box})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Remove(ctx, id)) }()
	return survive.Run(ctx, d, id)
}

// BenchmarkSteps runs 20 containers in turn that print a line: by the bare API, and through the driver in a sandbox that is made
// once, as for a build's steps. The making counts.
func BenchmarkSteps(b *testing.B) {
	const steps, script = 20, "echo done"
	d := open(b)
	ctx := b.Context()
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			for range steps {
				if n, err := bareRun(ctx, d, script); err != nil || n != 5 {
					b.Fatal(n, err)
				}
			}
		}
	})
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			box, err := d.CreateSandbox(ctx, driver.SandboxSpec{Name: "bench-" + newUID()})
			if err != nil {
				b.Fatal(err)
			}
			for range steps {
				if n, err := ourRun(ctx, d, box, script); err != nil || n != 1 {
					b.Fatal(n, err)
				}
			}
			if err := d.RemoveSandbox(ctx, box); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// flood prints a million lines of 100 bytes.
const flood = "awk 'BEGIN{s=\"\"; for(i=0;i<92;i++) s=s \"x\"; for(i=0;i<1000000;i++) printf \"%07d%s\\n\", i, s}'"

// BenchmarkFlood reads a million lines live, and proves that none is missing.
func BenchmarkFlood(b *testing.B) {
	d := open(b)
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if n, err := bareRun(b.Context(), d, flood); err != nil || n != 100_000_000 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("log", func(b *testing.B) { // what Podman's own log client does when it follows
		for b.Loop() {
			if err := bareLog(b.Context(), d, flood); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			if n, err := ourRun(b.Context(), d, "", flood); err != nil || n != 1_000_000 {
				b.Fatal(n, err)
			}
		}
	})
}
