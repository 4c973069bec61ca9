//go:build linux

package containerd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// daemon is a containerd of a test's own, to be killed and started again.
type daemon struct {
	t      testing.TB
	dir    string
	number int32
	cmd    *exec.Cmd
}

var daemons atomic.Int32

// newDaemon starts a daemon that has the images of the suite.
func newDaemon(t testing.TB) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "wct") // a short path: those of sockets are bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{t: t, dir: dir, number: daemons.Add(1)}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), d.socket())
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	d.start()
	t.Cleanup(d.stop)
	images, err := drivertest.BuildImages(t.Context(), drivertest.ImageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	d.ask(func(ctx context.Context, c *client.Client) error {
		_, err := c.Import(ctx, images)
		return err
	})
	return d
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "state", "c.sock") }

// start returns when the daemon is ready, as it says itself (sd_notify(3)).
func (d *daemon) start() {
	d.t.Helper()
	notify := filepath.Join(d.dir, "notify.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("containerd", "--config", filepath.Join(d.dir, "config.toml"))
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatalf("%v: apt-get install containerd", err)
	}
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	for n := 0; !strings.Contains(string(buf[:n]), "READY=1"); {
		if n, err = conn.Read(buf); err != nil {
			said, _ := os.ReadFile(log.Name())
			d.t.Fatalf("containerd does not become ready: %v\n%s", err, said)
		}
	}
	os.Remove(notify)
}

// end ends the daemon, and nothing else: the shims and what they run go on.
func (d *daemon) end(s syscall.Signal) {
	_ = d.cmd.Process.Signal(s)
	_ = d.cmd.Wait()
}

func (d *daemon) stop() {
	if d.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
		lines := strings.SplitAfter(string(log), "\n")
		d.t.Logf("containerd's log:\n%s", strings.Join(lines[max(0, len(lines)-20):], ""))
	}
	d.end(syscall.SIGTERM)
}

// ask calls f with a connection to the daemon.
func (d *daemon) ask(f func(context.Context, *client.Client) error) {
	d.t.Helper()
	c, err := client.New(d.socket())
	if err == nil {
		defer c.Close()
		err = f(namespaces.WithNamespace(d.t.Context(), "wharf-test"), c)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) config() Config {
	// Daemons on one machine share its control groups and networks: ids and addresses have to differ.
	return Config{
		Address: d.socket(), Namespace: "wharf-test", Owner: filepath.Base(d.dir), Cgroup: os.Getenv("CONTAINERD_CGROUP"),
		Subnet: fmt.Sprintf("10.%d.0.0/16", 100+d.number%100), Root: filepath.Join(d.dir, "wharf"), State: filepath.Join(d.dir, "wharf-state"),
	}
}

// driver opens a driver. At the end of the test nothing of its owner may be left.
func (d *daemon) driver(cfg Config) *Driver {
	d.t.Helper()
	drv, err := New(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		d.empty(drv)
		drv.Close()
	})
	return drv
}

func (d *daemon) empty(drv *Driver) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tasks, err := drv.List(ctx, driver.ListOptions{})
	if err != nil {
		d.t.Errorf("List: %v", err)
	}
	for _, t := range tasks {
		if err := drv.Remove(ctx, t.ID); err != nil {
			d.t.Errorf("Remove: %v", err)
		}
	}
	for _, dir := range []string{filepath.Join(drv.cfg.Root, "tasks"), filepath.Join(drv.cfg.State, "netns"), filepath.Join(drv.cfg.State, "secrets"), filepath.Join(d.dir, "state/io.containerd.runtime.v2.task/wharf-test")} {
		left, _ := os.ReadDir(dir)
		for _, e := range left {
			d.t.Errorf("left: %s", filepath.Join(dir, e.Name()))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		d.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, d.dir) && (strings.Contains(line, "overlay") || strings.Contains(line, "nsfs")) {
			d.t.Errorf("left mounted: %s", line)
		}
	}
}

// program is a task of the suite's program.
func program(name string, args ...string) driver.TaskSpec {
	return driver.TaskSpec{Name: name, Container: driver.Container{Image: drivertest.Image, Args: args, Pull: driver.PullNever}}
}
