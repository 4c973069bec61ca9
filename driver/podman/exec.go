package podman

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/containerd/errdefs"

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
	opts := map[string]any{
		"User": spec.User, "WorkingDir": spec.Dir, "Cmd": spec.Args, "AttachStdin": spec.Stdin != nil, "AttachStdout": true, "AttachStderr": true,
	}
	env := []string{}
	for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
		env = append(env, k+"="+spec.Env[k])
	}
	opts["Env"] = env
	var ex struct {
		ID string `json:"Id"`
	}
	err := d.api.call(ctx, "POST", "/containers/"+cid+"/exec", nil, opts, &ex)
	if err != nil && notRunning(err) {
		return driver.Result{}, driver.WithClass(errdefs.ErrFailedPrecondition, "%v", err)
	}
	if err != nil {
		return driver.Result{}, err
	}
	started := time.Now()
	if err := d.execStreams(ctx, ex.ID, spec); err != nil {
		return driver.Result{}, err
	}
	var state struct {
		Running  bool
		ExitCode int
	}
	if err := d.api.call(ctx, "GET", "/exec/"+ex.ID+"/json", nil, nil, &state); err != nil {
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
	conn, err := d.api.hijack(ctx, "/exec/"+id+"/start", nil, map[string]any{"Detach": false, "Tty": false})
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
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
	err = demultiplex(stdout, stderr, conn.Reader)
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
	info, err := d.info.Do(ctx, d.ask)
	if err != nil {
		return driver.Usage{}, err
	}
	if !info.measures() {
		return driver.Usage{}, driver.Unsupported("stats of a service without root on control groups of version 1")
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
	var answer struct {
		Error any
		Stats []struct {
			CPUNano  int64
			MemUsage int64
			PIDs     int64
		}
	}
	q := url.Values{"containers": {id}, "stream": {"false"}}
	if err := d.api.call(ctx, "GET", "/containers/stats", q, nil, &answer); err != nil {
		return driver.Usage{}, err
	}
	if len(answer.Stats) != 1 {
		return driver.Usage{}, driver.WithClass(errdefs.ErrFailedPrecondition, "Podman measures nothing of the container: %v", answer.Error)
	}
	s := answer.Stats[0]
	return driver.Usage{CPU: time.Duration(s.CPUNano), Memory: s.MemUsage, PIDs: s.PIDs}, nil
}

// demultiplex tells a stream of frames apart: each has the stream in its first byte and its length in the last four of eight.
func demultiplex(stdout, stderr io.Writer, r io.Reader) error {
	var header [8]byte
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		w := stdout
		if header[0] == 2 {
			w = stderr
		}
		if _, err := io.CopyN(w, r, int64(binary.BigEndian.Uint32(header[4:]))); err != nil {
			return err
		}
	}
}
