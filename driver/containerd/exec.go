//go:build linux

package containerd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/internal/rootfs"
)

// Exec runs a command in a running task. See [driver.Execer].
func (d *Driver) Exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	ctx, done := d.begin(ctx)
	defer done()
	res, err := d.execIn(ctx, id, spec)
	return res, driver.Wrap(ctx, "exec", string(id), classify(err))
}

func (d *Driver) execIn(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return driver.Result{}, err
	}
	if len(spec.Args) == 0 {
		return driver.Result{}, driver.WithClass(errdefs.ErrInvalidArgument, "Args: is empty")
	}
	container := h.container
	if spec.Container != "" && spec.Container != driver.MainContainer {
		g, err := d.group(ctx, h)
		if err != nil {
			return driver.Result{}, err
		}
		container = ""
		for _, c := range g.all() {
			if nameOf(c) == spec.Container {
				container = c.ID
			}
		}
		if container == "" {
			return driver.Result{}, driver.WithClass(errdefs.ErrNotFound, "the task has no container %q", spec.Container)
		}
	}
	return d.exec(ctx, h, container, spec)
}

// exec runs a command in one container.
func (d *Driver) exec(ctx context.Context, h handle, container string, spec driver.ExecSpec) (driver.Result, error) {
	s, err := d.inspect(ctx, h, container)
	if err != nil {
		return driver.Result{}, err
	}
	if s.phase != phaseRunning {
		return driver.Result{}, driver.WithClass(errdefs.ErrFailedPrecondition, "the container does not run")
	}
	c, err := d.client.LoadContainer(ctx, container)
	if err != nil {
		return driver.Result{}, err
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		return driver.Result{}, err
	}
	process, err := d.execProcess(ctx, c, s, spec)
	if err != nil {
		return driver.Result{}, err
	}
	fifos := filepath.Join(d.cfg.State, "fifo")
	if err := os.MkdirAll(fifos, 0o700); err != nil {
		return driver.Result{}, err
	}
	p, err := task.Exec(ctx, "exec-"+newUID(), process, cio.NewCreator(cio.WithStreams(spec.Stdin, orDiscard(spec.Stdout), orDiscard(spec.Stderr)), cio.WithFIFODir(fifos)))
	if err != nil {
		return driver.Result{}, err
	}
	defer func() {
		clean, cancel := detached(ctx)
		defer cancel()
		_, _ = p.Delete(clean, client.WithProcessKill) // it goes with the task at the latest
	}()
	return d.runExec(ctx, p)
}

// orDiscard takes what nobody wants to have: for an output that it is given nowhere to write to, the shim opens /dev/null for
// reading, and the command's writes fail.
func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func (d *Driver) execProcess(ctx context.Context, c client.Container, s standing, spec driver.ExecSpec) (*specs.Process, error) {
	own, err := c.Spec(ctx)
	if err != nil {
		return nil, err
	}
	p := *own.Process
	p.Terminal, p.Args = false, spec.Args
	p.Env = append([]string{}, p.Env...)
	for k, v := range spec.Env {
		p.Env = append(p.Env, k+"="+v)
	}
	p.Cwd = firstOf(spec.Dir, p.Cwd)
	if spec.User == "" {
		return &p, nil
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", s.task.Pid))
	if err != nil {
		return nil, driver.WithClass(errdefs.ErrFailedPrecondition, "the container does not run any more: %v", err)
	}
	defer ns.Close()
	err = insideNamespace(ns, func() error {
		u, err := rootfs.LookUser(spec.User)
		p.User = specUser(u)
		return err
	})
	return &p, err
}

// runExec starts the process and waits for its end and that of its output.
func (d *Driver) runExec(ctx context.Context, p client.Process) (driver.Result, error) {
	exit, err := p.Wait(ctx)
	if err != nil {
		return driver.Result{}, err
	}
	if err := p.Start(ctx); err != nil {
		if strings.Contains(err.Error(), "OCI runtime exec failed") {
			return driver.Result{Outcome: driver.StartFailed, Reason: startReason(strings.TrimPrefix(err.Error(), "OCI runtime exec failed: "))}, nil
		}
		return driver.Result{}, err
	}
	select {
	case e := <-exit:
		code, at, err := e.Result()
		if err != nil {
			return driver.Result{}, err
		}
		p.IO().Wait()
		res := driver.ResultOfCode(int(code))
		res.Ended = at.UTC()
		return res, nil
	case <-ctx.Done():
		clean, cancel := detached(ctx)
		defer cancel()
		_ = p.Kill(clean, 9) // Delete tries again
		p.IO().Cancel()
		return driver.Result{}, context.Cause(ctx)
	}
}
