//go:build linux

package containerd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// The line breaks at random moments of a start, and of the next ones. The task runs all the same, and nothing stays. WHARF_TEST_FAULTS multiplies the tasks.
func TestStartBreaksOff(t *testing.T) {
	t.Parallel()
	rounds, err := strconv.Atoi(os.Getenv("WHARF_TEST_FAULTS"))
	if err != nil {
		rounds = 1
	}
	c := newDaemon(t)
	var all sync.WaitGroup
	var number atomic.Int64
	for range 4 {
		proxy, err := drivertest.NewProxy("unix", c.socket())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { proxy.Close() })
		cfg := c.config()
		cfg.Address = proxy.Addr()
		d := c.driver(cfg)
		all.Go(func() {
			for n := number.Add(1); n <= int64(16*rounds); n = number.Add(1) {
				startBreaksOff(t, d, proxy, fmt.Sprint("broken-", n))
			}
		})
	}
	all.Wait()
}

func startBreaksOff(t *testing.T, d *Driver, proxy *drivertest.Proxy, name string) {
	id, err := d.Create(t.Context(), program(name, "exit", "3"))
	if err != nil {
		t.Error(err)
		return
	}
	const breaks = 3
	for try := range 2*breaks + 2 {
		cut := time.AfterFunc(time.Duration(rand.Int64N(int64(500*time.Millisecond))), func() {
			if try < breaks {
				proxy.Cut()
				proxy.Restore()
			}
		})
		err = d.Start(t.Context(), id)
		cut.Stop()
		if !errdefs.IsUnavailable(err) {
			break
		}
	}
	if err != nil {
		t.Errorf("start %s: %v", id, err)
		return
	}
	if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Exited || res.Code != 3 {
		t.Errorf("%s: %v, %v; want code 3", id, res, err)
	}
	if err := d.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// The daemon has left what keeps a container from being started, and a shim that it does not know of.
func TestRuins(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	d.helpAfter, d.noticeTime = time.Second, 2*time.Second
	exits := func(t *testing.T, id driver.TaskID) {
		if err := d.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Exited || res.Code != 3 {
			t.Errorf("the result is %v, %v; want code 3", res, err)
		}
	}
	create := func(t *testing.T, name string) (driver.TaskID, handle) {
		id, err := d.Create(t.Context(), program(name, "exit", "3"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := d.parse(string(id))
		if err != nil {
			t.Fatal(err)
		}
		return id, h
	}
	id, _ := create(t, "shows-where-bundles-are")
	exits(t, id)
	for name, end := range map[string]func(*testing.T, driver.TaskID, handle){
		"start": func(t *testing.T, id driver.TaskID, _ handle) { exits(t, id) },
		"remove": func(t *testing.T, id driver.TaskID, h handle) {
			if err := os.WriteFile(d.begunFile(h, driver.MainContainer), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, h := create(t, "ruined-"+name)
			bundle := filepath.Join(c.dir, "state", bundles, d.cfg.Namespace, h.container)
			ruin(t, bundle)
			end(t, id, h)
			if err := d.Remove(t.Context(), id); err != nil {
				t.Error(err)
			}
			if left := shims(bundle); len(left) > 0 {
				t.Errorf("the shim %v was not killed", left)
			}
		})
	}
}

// Who began to start a task was killed. Another process, which has started nothing, removes it, with what the daemon has left of its init container.
func TestRuinsOfAnother(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	d.helpAfter, d.noticeTime = time.Second, 2*time.Second
	spec := program("ruined", "exit", "3")
	spec.Init = []driver.Container{{Name: "first", Image: drivertest.Image, Pull: driver.PullNever}}
	id, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := d.parse(string(id))
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(c.dir, "state", bundles, d.cfg.Namespace, h.member(kindInit, "0"))
	ruin(t, bundle)
	if err := os.WriteFile(d.begunFile(h, "first"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
	if exists(bundle) || exists(hidden(bundle)) || len(shims(bundle)) > 0 {
		t.Errorf("%s is left, or a shim in it", bundle)
	}
}

// ruin makes a bundle, in which a process works, and the remains of another.
func ruin(t *testing.T, bundle string) {
	t.Helper()
	rootfs := filepath.Join(bundle, "rootfs")
	for _, dir := range []string{rootfs, filepath.Join(hidden(bundle), "something")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", rootfs, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	shim := exec.CommandContext(t.Context(), filepath.Join(t.TempDir(), "containerd-shim-test"), "600")
	if err := os.Symlink(sleep, shim.Path); err != nil {
		t.Fatal(err)
	}
	shim.Dir = bundle
	if err := shim.Start(); err != nil {
		t.Fatal(err)
	}
	go shim.Wait()
}
