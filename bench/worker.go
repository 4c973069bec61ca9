package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	moby "github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// workerOwner is whose tasks the workers that are measured make.
const workerOwner = "bench-worker"

// startedWorker is a "wharf worker" that runs.
type startedWorker struct {
	cmd    *exec.Cmd
	said   bytes.Buffer
	client *client.Client
	ended  chan struct{} // closed when the build has ended
}

// startWorker starts a worker on a definition and waits until it serves.
func (b *bench) startWorker(ctx context.Context, name, definition string, flags ...string) (_ *startedWorker, err error) {
	project, err := b.project(name, definition)
	if err != nil {
		return nil, err
	}
	results := filepath.Join(b.dir, name+".results")
	w := &startedWorker{ended: make(chan struct{})}
	w.cmd = exec.CommandContext(ctx, b.wharf, append([]string{"worker", project, "--driver=docker://?owner=" + workerOwner, "--results=" + results}, flags...)...)
	stderr, err := w.cmd.StderrPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	said := json.NewDecoder(io.TeeReader(stderr, &w.said))
	await := func(message string) error {
		for {
			var line struct {
				Message string `json:"@message"`
			}
			if err := said.Decode(&line); err != nil || line.Message == message {
				return err
			}
		}
	}
	if err := await("serving"); err != nil {
		return nil, fmt.Errorf("wharf worker: %w\n%s", err, &w.said)
	}
	go func() {
		defer close(w.ended)
		_ = await("the build has ended")
	}()
	text, err := os.ReadFile(filepath.Join(results, "worker.json"))
	var e struct{ Listens, Token string }
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		return nil, err
	}
	w.client, err = client.Dial(e.Listens, client.Options{Token: e.Token})
	return w, err
}

func (w *startedWorker) stop() {
	_ = w.cmd.Process.Signal(os.Interrupt)
	_ = w.cmd.Wait()
	if w.client != nil {
		_ = w.client.Close()
	}
}

// resident is the memory of a worker, in bytes.
func (w *startedWorker) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kib << 10, err
}

// workerFigures measures what is not a ratio, and prints a line for each.
func (b *bench) workerFigures(ctx context.Context, out io.Writer) error {
	for _, measure := range []func(context.Context) (string, error){b.latency, b.atRest, b.chatty} {
		line, err := measure(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, line)
	}
	return nil
}

// latency sends lines, 1,000 a second, to a container that prints what it is sent, and takes the time until a client of the worker has each.
func (b *bench) latency(ctx context.Context) (string, error) {
	const lines, port = 5000, 9999
	w, err := b.startWorker(ctx, "latency", sequence(1, fmt.Sprint("echo ready; nc -ll -p ", port)))
	if err != nil {
		return "", err
	}
	defer w.stop()
	var once sync.Once
	ready := make(chan struct{})
	took := make(chan []time.Duration, 1)
	failed := make(chan error, 1)
	go func() {
		var all []time.Duration
		for e, err := range w.client.Events(ctx, client.ReadOptions{Follow: true}) {
			if err != nil {
				failed <- err
				return
			}
			if e.Kind != journal.KindLog {
				continue
			}
			sent, err := strconv.ParseInt(string(e.Line), 10, 64)
			if err != nil {
				once.Do(func() { close(ready) })
				continue
			}
			if all = append(all, time.Duration(time.Now().UnixNano()-sent)); len(all) == lines {
				break
			}
		}
		took <- all
	}()
	select {
	case <-ready:
	case <-took:
		build, err := w.client.Build(ctx, false)
		return "", fmt.Errorf("the build has ended early: %s: %s (%w)", build.State, build.Reason, err)
	case err := <-failed:
		return "", err
	}
	conn, err := b.dialStep(ctx, port)
	if err != nil {
		return "", err
	}
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for range lines {
		<-ticks.C
		if _, err := fmt.Fprintln(conn, time.Now().UnixNano()); err != nil {
			return "", err
		}
	}
	_ = conn.Close()
	select {
	case all := <-took:
		if len(all) != lines {
			return "", fmt.Errorf("of %d lines %d came", lines, len(all))
		}
		slices.Sort(all)
		at := func(share float64) string {
			return all[int(share*float64(lines-1))].Round(100 * time.Microsecond).String()
		}
		return fmt.Sprintf("line in the container to line at the client, 1,000 a second: median %s (target 20 ms), 90 %% %s, 99 %% %s, most %s", at(0.5), at(0.9), at(0.99), at(1)), nil
	case err := <-failed:
		return "", err
	}
}

// dialStep connects to a port in the only container that has an address.
func (b *bench) dialStep(ctx context.Context, port int) (net.Conn, error) {
	for range 100 { // what it prints may be here before the daemon lists it
		all, err := b.docker.ContainerList(ctx, moby.ContainerListOptions{})
		if err != nil {
			return nil, err
		}
		for _, c := range all.Items {
			for _, n := range c.NetworkSettings.Networks {
				if n.IPAddress.IsValid() {
					return b.dialSoon(ctx, netip.AddrPortFrom(n.IPAddress, uint16(port)).String())
				}
			}
		}
	}
	return nil, errors.New("no container has an address")
}

// dialSoon connects to a server that is about to listen.
func (b *bench) dialSoon(ctx context.Context, address string) (conn net.Conn, err error) {
	for range 1000 {
		if conn, err = new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// atRest has a worker serve a build of 1,000 steps that has ended.
func (b *bench) atRest(ctx context.Context) (string, error) {
	results := filepath.Join(b.dir, "rest.results")
	j, err := journal.Create(results, journal.Options{Build: worker.NewID()})
	if err != nil {
		return "", err
	}
	j.Append(journal.Event{Kind: journal.KindBuild, State: journal.Running})
	for i := range 1000 {
		step := fmt.Sprintf("stage--step%d", i)
		for _, state := range []journal.State{journal.Preparing, journal.Starting, journal.Running} {
			j.Append(journal.Event{Kind: journal.KindStep, Stage: "stage", Step: step, State: state, Attempt: 1})
		}
		log := j.Log(step)
		for line := range 100 {
			log.Write(time.Now(), "", "stdout", fmt.Appendf(nil, "line %d", line), false)
		}
		log.Close()
		j.Append(journal.Event{Kind: journal.KindStep, Stage: "stage", Step: step, State: journal.Succeeded, Attempt: 1, Result: &driver.Result{Outcome: driver.Exited}})
	}
	j.Append(journal.Event{Kind: journal.KindBuild, State: journal.Succeeded})
	if err := j.Close(); err != nil {
		return "", err
	}
	w, err := b.startWorker(ctx, "rest", sequence(1, "true"))
	if err != nil {
		return "", err
	}
	defer w.stop()
	if build, err := w.client.Build(ctx, false); err != nil || len(build.Steps) != 1000 {
		return "", fmt.Errorf("the build has %d steps, %w", len(build.Steps), err)
	}
	<-w.ended
	rss, err := w.resident()
	return fmt.Sprintf("worker at rest, 1,000 steps recorded: %d MiB resident (target 40)", rss>>20), err
}

// chatty has a worker follow 50 steps at once that print 200 lines of 100 bytes a second each.
func (b *bench) chatty(ctx context.Context) (string, error) {
	const steps, lines = 50, 2000
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo %s; usleep 5000; done", lines, strings.Repeat("0123456789", 10))
	w, err := b.startWorker(ctx, "chatty", parallel(steps, script), fmt.Sprint("--parallel=", steps))
	if err != nil {
		return "", err
	}
	defer w.stop()
	got, most := 0, int64(0)
	for batch, err := range w.client.Batches(ctx, client.ReadOptions{Follow: true}) {
		if err != nil {
			return "", err
		}
		if batch.Event.Kind != journal.KindLog {
			continue
		}
		if got += batch.Len(); got%100 == 0 {
			rss, err := w.resident()
			if err != nil {
				return "", err
			}
			most = max(most, rss)
		}
	}
	if got != steps*lines {
		return "", fmt.Errorf("of %d lines %d came", steps*lines, got)
	}
	return fmt.Sprintf("worker following %d steps that print: %d MiB resident (target 100)", steps, most>>20), nil
}
