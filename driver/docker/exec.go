package docker

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// Exec runs a command in a running task. See [driver.Execer].
func (d *Driver) Exec(ctx context.Context, id driver.TaskID, spec driver.ExecSpec) (driver.Result, error) {
	ctx, done := d.begin(ctx)
	defer done()
	cid, err := d.containerOf(ctx, id, spec.Container)
	var res driver.Result
	if err == nil {
		res, err = d.exec(ctx, cid, spec)
	}
	return res, driver.Wrap(ctx, "exec", string(id), classify(err))
}

// containerOf finds a container of a task by its name; empty is the main one.
func (d *Driver) containerOf(ctx context.Context, id driver.TaskID, name string) (string, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return "", err
	}
	c, err := d.inspect(ctx, h.container)
	if err != nil || name == "" || name == driver.MainContainer {
		return h.container, err
	}
	if c.Config.Labels[labelGroup] != "" {
		g, err := d.group(ctx, h)
		if err != nil {
			return "", err
		}
		for _, c := range slices.Concat(g.inits, g.services) {
			if c.Labels[labelContainer] == name {
				return c.ID, nil
			}
		}
	}
	return "", driver.WithClass(errdefs.ErrNotFound, "the task has no container %q", name)
}

func (d *Driver) exec(ctx context.Context, cid string, spec driver.ExecSpec) (driver.Result, error) {
	if len(spec.Args) == 0 {
		return driver.Result{}, driver.WithClass(errdefs.ErrInvalidArgument, "Args: a command is needed")
	}
	opts := client.ExecCreateOptions{
		User: spec.User, WorkingDir: spec.Dir, Cmd: spec.Args, AttachStdin: spec.Stdin != nil, AttachStdout: true, AttachStderr: true,
	}
	for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
		opts.Env = append(opts.Env, k+"="+spec.Env[k])
	}
	ex, err := d.api.ExecCreate(ctx, cid, opts)
	if errdefs.IsConflict(err) {
		return driver.Result{}, driver.WithClass(errdefs.ErrFailedPrecondition, "%v", classify(err))
	}
	if err != nil {
		return driver.Result{}, err
	}
	started := time.Now()
	if err := d.execStreams(ctx, ex.ID, spec); err != nil {
		return driver.Result{}, err
	}
	state, err := d.api.ExecInspect(ctx, ex.ID, client.ExecInspectOptions{})
	if err != nil {
		return driver.Result{}, err
	}
	if state.Running { // its output has ended, or the connection broke, before it has
		return driver.Result{}, driver.WithClass(errdefs.ErrUnavailable, "the command closed its output or the connection broke; it still runs")
	}
	res := driver.ResultOfCode(state.ExitCode)
	res.Started, res.Ended = started, time.Now()
	return res, nil
}

// execStreams starts the command and passes its streams on until its output ends.
func (d *Driver) execStreams(ctx context.Context, id string, spec driver.ExecSpec) error {
	conn, err := d.api.ExecAttach(ctx, id, client.ExecAttachOptions{})
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	if spec.Stdin != nil {
		// It ends with the connection, or when the caller's reader does.
		go func() {
			_, _ = io.Copy(conn.Conn, spec.Stdin)
			_ = conn.CloseWrite()
		}()
	}
	stdout, stderr := spec.Stdout, spec.Stderr
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	_, err = stdcopy.StdCopy(stdout, stderr, conn.Reader)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Stats measures a running task. See [driver.Statser].
func (d *Driver) Stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	ctx, done := d.begin(ctx)
	defer done()
	u, err := d.stats(ctx, id)
	return u, driver.Wrap(ctx, "stats", string(id), classify(err))
}

func (d *Driver) stats(ctx context.Context, id driver.TaskID) (driver.Usage, error) {
	h, err := d.parse(string(id))
	if err != nil {
		return driver.Usage{}, err
	}
	main, err := d.inspect(ctx, h.container)
	if err != nil {
		return driver.Usage{}, err
	}
	if phaseOf(main) != phaseRunning {
		return driver.Usage{}, driver.WithClass(errdefs.ErrFailedPrecondition, "the task does not run")
	}
	ids := []string{h.container}
	if h.group != "" {
		g, err := d.group(ctx, h)
		if err != nil {
			return driver.Usage{}, err
		}
		for _, s := range g.services {
			ids = append(ids, s.ID)
		}
	}
	var sum driver.Usage
	for _, id := range ids {
		u, err := d.usage(ctx, id)
		if err != nil {
			return driver.Usage{}, err
		}
		sum.CPU += u.CPU
		sum.Memory += u.Memory
		sum.PIDs += u.PIDs
	}
	return sum, nil
}

func (d *Driver) usage(ctx context.Context, id string) (driver.Usage, error) {
	res, err := d.api.ContainerStats(ctx, id, client.ContainerStatsOptions{})
	if err != nil {
		return driver.Usage{}, err
	}
	defer res.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return driver.Usage{}, err
	}
	cache := s.MemoryStats.Stats["total_inactive_file"] // cgroup v1
	if cache == 0 {
		cache = s.MemoryStats.Stats["inactive_file"] // cgroup v2
	}
	return driver.Usage{
		CPU:    time.Duration(s.CPUStats.CPUUsage.TotalUsage), // nanoseconds
		Memory: int64(s.MemoryStats.Usage - min(cache, s.MemoryStats.Usage)),
		PIDs:   int64(s.PidsStats.Current),
	}, nil
}
