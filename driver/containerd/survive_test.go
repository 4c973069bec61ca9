//go:build linux

package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/internal/survive"
)

// running is a task that was started.
type running struct {
	*survive.Task
	t    *testing.T
	d    *Driver
	shim int // its process, once it was asked for
}

func start(t *testing.T, d *Driver, spec driver.TaskSpec) *running {
	t.Helper()
	return &running{Task: survive.Start(t, d, spec), t: t, d: d}
}

// pid is that of the task's process.
func (r *running) pid() int {
	r.t.Helper()
	s, err := r.d.inspect(r.d.ctx, r.handle(), r.handle().container)
	if err != nil || s.task == nil {
		r.t.Fatalf("the task does not run: %v", err)
	}
	return int(s.task.Pid)
}

// signalShim sends a signal to the parent of the task's process.
func (r *running) signalShim(s syscall.Signal) {
	r.t.Helper()
	if r.shim == 0 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid()))
		if err != nil {
			r.t.Fatal(err)
		}
		if r.shim, err = strconv.Atoi(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))[1]); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := syscall.Kill(r.shim, s); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) handle() handle {
	h, err := r.d.parse(string(r.ID))
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func TestDaemonIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	r := start(t, d, program("unit", survive.Waits...))
	c.end(syscall.SIGKILL)
	if _, err := d.List(t.Context(), driver.ListOptions{}); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("List without the daemon: %v; want Unavailable", err)
	}
	c.start()
	r.GoOn()
	r.WantLine("done")
	r.WantResult(driver.Exited, "code 3")
}

// The task ends, and is read, while there is no daemon. Containerd 2 forgets such a task when it is started again.
func TestTaskEndsWithoutDaemon(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	r := start(t, d, program("unit", "print", "ready", ";", "linger", "2", ";", "print", "done", ";", "exit", "3"))
	c.end(syscall.SIGKILL)
	r.WantLine("done")
	c.start()
	caps, err := d.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(caps.Runtime, "containerd 1.") || strings.HasPrefix(caps.Runtime, "containerd v1.") {
		r.WantResult(driver.Exited, "code 3")
		return
	}
	if res := <-r.Result; res.Outcome != driver.Lost && (res.Outcome != driver.Exited || res.Code != 3) {
		t.Errorf("the task %v; want code 3, or lost", res)
	}
}

func TestShimIsKilled(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	r := start(t, d, program("unit", survive.Waits...))
	r.signalShim(syscall.SIGKILL)
	r.WantResult(driver.Lost, "shim")
	list, err := d.List(t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != driver.StateEnded {
		t.Errorf("List: %+v, %v; want the task, ended", list, err)
	}
}

// A shim that does not answer, as on a machine with too much to do, tells nothing: neither that the task was lost nor that its log is over.
func TestShimIsSlow(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	r := start(t, c.driver(c.config()), program("unit", survive.Waits...))
	asked := make(chan bool, 1000)
	cfg := c.config()
	cfg.Calls = func(method string) {
		if strings.HasSuffix(method, "Tasks/Get") {
			asked <- true
		}
	}
	other := c.driver(cfg)
	r.signalShim(syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(r.shim, syscall.SIGCONT) })
	log, err := other.Logs(t.Context(), r.ID, driver.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	type end struct {
		res driver.Result
		err error
	}
	ended := make(chan end, 1)
	go func() {
		res, err := other.Wait(t.Context(), r.ID)
		ended <- end{res, err}
	}()
	list, err := other.List(t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != driver.StateUnknown || list[0].Reason == "" {
		t.Errorf("List: %+v, %v; want the task, its state unknown, and why", list, err)
	}
	for range 6 { // that of List, and one at least of both others that had no answer
		select {
		case <-asked:
		case e := <-ended:
			t.Fatalf("Wait: %v, %v", e.res, e.err)
		}
	}
	r.signalShim(syscall.SIGCONT)
	r.GoOn()
	var lines []string
	for {
		e, err := log.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(e.Line))
	}
	if want := []string{"ready", "done"}; !slices.Equal(lines, want) {
		t.Errorf("the log has %q; want %q", lines, want)
	}
	if e := <-ended; e.err != nil || e.res.Outcome != driver.Exited || e.res.Code != 3 {
		t.Errorf("Wait: %v, %v; want code 3", e.res, e.err)
	}
	r.WantResult(driver.Exited, "code 3")
}

// After the machine was restarted, the daemon knows containers, and no process of them.
func TestMachineIsRestarted(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	r := start(t, d, program("ran", survive.Waits...))
	created, err := d.Create(t.Context(), program("created", survive.Waits...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.client.TaskService().Delete(d.ctx, &tasks.DeleteTaskRequest{ContainerID: r.handle().container}); err == nil {
		t.Fatal("a running task was deleted")
	}
	// What a restart does: the processes are gone, and with them their records and what is in /run.
	if err := d.removeProcess(d.ctx, r.handle().container); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []string{r.handle().uid, strings.Split(string(created), ".")[1]} {
		if err := unix.Unmount(d.netnsFile(uid), unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(d.cfg.State); err != nil {
		t.Fatal(err)
	}
	r.WantResult(driver.Lost, "restarted")
	if err := d.Start(t.Context(), r.ID); err != nil {
		t.Errorf("Start of a task that is lost: %v", err)
	}
	again := c.driver(c.config())
	if res, err := again.Wait(t.Context(), r.ID); err != nil || res.Outcome != driver.Lost {
		t.Errorf("another process is told %v, %v; want Lost", res, err)
	}
	if err := again.Start(t.Context(), created); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("Start of a task that has no network any more: %v; want an error that says why", err)
	}
}

func TestRecordIsRemovedByHand(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	r := start(t, d, program("unit", survive.Waits...))
	pid := r.pid()
	if err := d.client.ContainerService().Delete(d.ctx, r.handle().container); err != nil {
		t.Fatal(err)
	}
	r.WantResult(driver.Lost, "removed")
	if err := d.Remove(t.Context(), r.ID); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process is still there (%v)", err)
	}
}

func TestImageIsRemoved(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	id, err := d.Create(t.Context(), program("made-before", "exit", "3"))
	if err != nil {
		t.Fatal(err)
	}
	c.ask(func(ctx context.Context, api *client.Client) error {
		list, err := api.ImageService().List(ctx)
		for _, i := range list {
			err = errors.Join(err, api.ImageService().Delete(ctx, i.Name, images.SynchronousDelete()))
		}
		return err
	})
	if err := d.Start(t.Context(), id); err != nil {
		t.Errorf("Start of a task whose image was removed: %v", err)
	}
	if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Exited || res.Code != 3 {
		t.Errorf("Wait: %v, %v", res, err)
	}
	if _, err := d.Create(t.Context(), program("made-after", "exit", "3")); !errors.Is(err, errdefs.ErrNotFound) || !strings.Contains(err.Error(), drivertest.Image) {
		t.Errorf("Create with an image that was removed: %v; want NotFound, and its name", err)
	}
}

// smallRoot mounts a disk of the size in kibibytes as the driver's root.
func smallRoot(t *testing.T, cfg *Config, size int) {
	t.Helper()
	cfg.Root = filepath.Join(cfg.Root, "small")
	if err := os.MkdirAll(cfg.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("small", cfg.Root, "tmpfs", 0, fmt.Sprintf("size=%dk", size)); err != nil {
		t.Fatalf("mount a small disk (this test needs root): %v", err)
	}
	t.Cleanup(func() { unix.Unmount(cfg.Root, unix.MNT_DETACH) })
}

func TestRootIsFull(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	cfg := c.config()
	smallRoot(t, &cfg, 64)
	if err := os.WriteFile(filepath.Join(cfg.Root, "ballast"), make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	d := c.driver(cfg)
	_, err := d.Create(t.Context(), program("unit", survive.Waits...))
	if !errors.Is(err, errdefs.ErrResourceExhausted) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("Create on a full disk: %v; want ResourceExhausted, and why", err)
	}
}

// A log that breaks off for want of room never looks like a whole one.
func TestLogFillsTheRoot(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	cfg := c.config()
	smallRoot(t, &cfg, 512)
	d := c.driver(cfg)
	r := start(t, d, program("unit", "print", "ready", ";", "lines", "100000", "80"))
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = r.Log.Next()
	}
	if !errors.Is(err, errdefs.ErrResourceExhausted) || !strings.Contains(err.Error(), cfg.Root) || n < 1000 {
		t.Errorf("after %d lines: %v; want thousands, and ResourceExhausted with the directory's name", n, err)
	}
	if err := d.Stop(t.Context(), r.ID, driver.StopOptions{}); err != nil {
		t.Errorf("Stop: %v", err)
	}
	later, err := d.Logs(t.Context(), r.ID, driver.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	for err == nil {
		_, err = later.Next()
	}
	if !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Errorf("the log ends with %v for one who comes later; want ResourceExhausted", err)
	}
}

// Another process, which comes when all is over, is told the times at which lines were printed.
func TestTimesAfterTheEnd(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	r := start(t, d, program("unit", "print", "ready", ";", "linger", "2", ";", "print", "done"))
	r.WantResult(driver.Exited, "code 0")
	other := c.driver(c.config())
	log, err := other.Logs(t.Context(), r.ID, driver.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	first, err := log.Next()
	if err != nil {
		t.Fatal(err)
	}
	began := first.Time
	second, err := log.Next()
	if err != nil {
		t.Fatal(err)
	}
	if between := second.Time.Sub(began); between < time.Second || between > 30*time.Second {
		t.Errorf("lines that were printed two seconds apart are %s apart in the log", between)
	}
}
