//go:build linux

package podman

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/internal/survive"
)

// wantNothing removes a task, and looks whether anything of the driver is left.
func wantNothing(t *testing.T, d *Driver, tasks ...driver.TaskID) {
	t.Helper()
	for _, id := range tasks {
		if err := d.Remove(t.Context(), id); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	containers, err := d.list(t.Context(), d.filters("", nil))
	if err != nil || len(containers) > 0 {
		t.Errorf("containers that are left: %+v, %v", containers, err)
	}
	var volumes []volume
	if err := d.api.call(t.Context(), "GET", "/volumes/json", filters(d.filters("", nil)), nil, &volumes); err != nil || len(volumes) > 0 {
		t.Errorf("volumes that are left: %+v, %v", volumes, err)
	}
}

func TestServiceIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, "")
			d := s.driver()
			r := survive.Start(t, d, program("unit", survive.Waits...))
			s.end(signal)
			if _, err := d.List(t.Context(), driver.ListOptions{}); !errors.Is(err, errdefs.ErrUnavailable) {
				t.Errorf("List without the service: %v; want Unavailable", err)
			}
			s.start()
			r.GoOn()
			r.WantLine("done")
			r.WantResult(driver.Exited, "code 3")
			wantNothing(t, d, r.ID)
		})
	}
}

// The containers belong to conmon, and their ends are noted without the service.
func TestTaskEndsWithoutService(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	d := s.driver()
	r := survive.Start(t, d, program("unit", "print", "ready", ";", "linger", "2", ";", "print", "done", ";", "exit", "3"))
	s.end(syscall.SIGKILL)
	// The command waits as the service would, for the end of the container.
	h, err := d.parse(string(r.ID))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.podman("wait", h.container).Output(); err != nil || strings.TrimSpace(string(out)) != "3" {
		t.Errorf("podman wait: %q, %v", out, err)
	}
	s.start()
	r.WantLine("done")
	r.WantResult(driver.Exited, "code 3")
	wantNothing(t, d, r.ID)
}

// A service that was killed while it made a container left its files, with the name, and no record of it.
func TestRemainsOfCreate(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	d := s.driver()
	d.listTime, d.remainsAge = time.Second, 0
	db := filepath.Join(s.root, "libpod", "bolt_state.db")
	before, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(t.Context(), program("unit", "exit", "0")); err != nil {
		t.Fatal(err)
	}
	s.end(syscall.SIGKILL)
	if err := os.WriteFile(db, before, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	if list, err := d.List(t.Context(), driver.ListOptions{}); err != nil || len(list) != 0 {
		t.Fatalf("List: %+v, %v; want nothing, or this test shows nothing", list, err)
	}
	id, err := d.Create(t.Context(), program("unit", "exit", "0"))
	if err != nil {
		t.Fatal(err)
	}
	if lines, err := survive.Run(t.Context(), d, id); err != nil || lines != 0 {
		t.Errorf("the task: %d lines, %v", lines, err)
	}
	wantNothing(t, d, id)
}

// Conmon of a container is killed, as the kernel may do for want of memory: the service calls it running for ever.
func TestMonitorIsKilled(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	d := s.driver()
	d.guards.after = 0
	r := survive.Start(t, d, program("unit", survive.Waits...))
	h, err := d.parse(string(r.ID))
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.podman("inspect", "--format", "{{.State.ConmonPid}}", h.container).Output()
	pid, numErr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || numErr != nil {
		t.Fatal(err, numErr)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.WantResult(driver.Lost, "conmon")
	if e, err := r.Log.Next(); err == nil {
		t.Errorf("the log has %q; want its end", e.Line)
	}
	list, err := d.List(t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != driver.StateEnded {
		t.Errorf("List: %+v, %v; want the task, ended", list, err)
	}
	wantNothing(t, d, r.ID)
}

func TestContainerIsRemovedByHand(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	d := s.driver()
	r := survive.Start(t, d, program("unit", "print", "ready", ";", "ignore-term"))
	h, err := d.parse(string(r.ID))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.podman("rm", "-f", "-t", "0", h.container).CombinedOutput(); err != nil {
		t.Fatalf("podman rm: %v\n%s", err, out)
	}
	r.WantResult(driver.Lost, "removed")
	if _, err := d.Wait(t.Context(), r.ID); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("Wait after the removal: %v; want NotFound", err)
	}
	wantNothing(t, d, r.ID)
}

// Podman does not remove an image that a container needs; by force it removes the container too.
func TestImageIsRemoved(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	d := s.driver()
	id, err := d.Create(t.Context(), program("made-before", "exit", "3"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.podman("rmi", drivertest.Image).CombinedOutput(); err == nil {
		t.Errorf("podman rmi removed an image that is in use: %s", out)
	}
	if out, err := s.podman("rmi", "-f", drivertest.Image).CombinedOutput(); err != nil {
		t.Fatalf("podman rmi -f: %v\n%s", err, out)
	}
	if err := d.Start(t.Context(), id); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("Start of a task that was removed with its image: %v; want NotFound", err)
	}
	if res, err := d.Wait(t.Context(), id); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("Wait: %v, %v; want NotFound", res, err)
	}
	if _, err := d.Create(t.Context(), program("made-after", "exit", "3")); !errors.Is(err, errdefs.ErrNotFound) || !strings.Contains(err.Error(), drivertest.Image) {
		t.Errorf("Create with an image that was removed: %v; want NotFound, and its name", err)
	}
	wantNothing(t, d, id)
}

// fill leaves no room on the service's disk, and returns what makes room again.
func (s *privateService) fill() (free func()) {
	s.t.Helper()
	name := filepath.Join(s.root, "ballast")
	f, err := os.Create(name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			s.t.Error(err)
		}
	}
}

func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	s := newService(t, "64m")
	d := s.driver()
	free := s.fill()
	_, err := d.Create(t.Context(), program("unit", survive.Waits...))
	if !errors.Is(err, errdefs.ErrResourceExhausted) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("Create on a full disk: %v; want ResourceExhausted, and why", err)
	}
	free()
	wantNothing(t, d)
	r := survive.Start(t, d, program("unit", survive.Waits...))
	r.GoOn()
	r.WantResult(driver.Exited, "code 3")
	wantNothing(t, d, r.ID)
}

// A log that fills the disk. Who follows misses nothing, or is told; and there is room again when the task has been removed. (Who comes
// later is told if the log ends in a torn entry, and not if later ones found room: see the limits of the package.) Podman 5 has no room
// for the end of the task either, and says so.
func TestLogFillsTheDisk(t *testing.T) {
	t.Parallel()
	s := newService(t, "64m")
	reserve := filepath.Join(s.root, "reserve")
	if err := os.WriteFile(reserve, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := s.driver()
	id := create(t, d, program("unit", "lines", "1000000", "80"))
	log := follow(t.Context(), t, d, id)
	var err error
	n := -1
	for ; err == nil; n++ {
		_, err = log.Next()
	}
	if !errors.Is(err, errdefs.ErrResourceExhausted) && (!errors.Is(err, io.EOF) || n != 1_000_000) {
		t.Errorf("after %d lines: %v; want a million, or ResourceExhausted", n, err)
	}
	if res, err := d.Wait(t.Context(), id); !errors.Is(err, errdefs.ErrResourceExhausted) && (err != nil || !res.Succeeded()) {
		t.Errorf("Wait: %v, %v; want exit code 0, or ResourceExhausted", res, err)
	}
	if err := os.Remove(reserve); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, d, id)
}

// A service that is killed breaks the connections to tasks off, their helpers end, and new ones come up.
func TestDialSurvives(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	d := s.driver()
	id := create(t, d, program("dialled", "serve", "127.0.0.1:8080"))
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	c := dial(t, d, id, 8080)
	echoed(t, c, "before")
	s.end(syscall.SIGKILL)
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read of a connection whose service is gone: %d bytes, %v; want that it broke off", n, err)
	}
	s.start()
	awaitNoHelpers(t, d)
	echoed(t, dial(t, d, id, 8080), "after")
}
