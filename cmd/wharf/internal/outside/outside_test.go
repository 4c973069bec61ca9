//go:build linux

package outside

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/containerd"
)

// insideEnv makes the test's program the process in a container.
const insideEnv = "WHARF_TEST_INSIDE"

func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == Command:
		err = hasDriver(os.Args[2])
	case os.Getenv(insideEnv) != "":
		err = inside(context.Background())
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hasDriver has the driver, as "wharf serve-driver" does.
func hasDriver(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	d, err := containerd.New(containerd.Config{Owner: u.Query().Get("owner"), Cgroup: u.Query().Get("cgroup")})
	if err != nil {
		return err
	}
	defer d.Close()
	return Serve(context.Background(), d)
}

// TestOutside has a process in namespaces of its own run a task with a network by a driver outside, kill the process that has the driver, and go on.
func TestOutside(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "starting it again") {
		t.Errorf("nothing tells that the process with the driver was killed: %s", out)
	}
}

// inside is the process in the container.
func inside(ctx context.Context) (err error) {
	d, err := Open("/proc", "containerd://?owner=outside&cgroup="+os.Getenv("CONTAINERD_CGROUP"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	id, err := d.Create(ctx, driver.TaskSpec{Name: "outside", Container: driver.Container{
		Image: "localhost/wharf/busybox:1", Pull: driver.PullNever, Args: []string{"sh", "-c", "ip route | grep -q default && echo one; while ! [ -e /go ]; do sleep 0.1; done; echo two"},
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Remove(ctx, id)) }()
	if err := d.Start(ctx, id); err != nil {
		return err
	}
	r, err := d.Logs(ctx, id, driver.LogOptions{Follow: true})
	if err != nil {
		return err
	}
	defer r.Close()
	var lines []string
	for e, err := range driver.Entries(r) {
		if err != nil {
			return err
		}
		if lines = append(lines, string(e.Line)); len(lines) == 1 {
			if err := syscall.Kill(-1, syscall.SIGKILL); err != nil { // all in this process namespace but this one
				return err
			}
			if err := letGo(ctx, d, id); err != nil {
				return err
			}
		}
	}
	res, err := d.Wait(ctx, id)
	if err != nil || !res.Succeeded() || !slices.Equal(lines, []string{"one", "two"}) {
		return fmt.Errorf("the task printed %q and %v, %w", lines, res, err)
	}
	return nil
}

// letGo makes the file that the task waits for. A copy is not repeated by itself when its connection breaks, as it may when the driver's process is being killed.
func letGo(ctx context.Context, d *Driver, id driver.TaskID) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "go", Mode: 0o644}), w.Close()); err != nil {
		return err
	}
	if _, err := d.List(ctx, driver.ListOptions{}); err != nil { // is repeated until there is a process again
		return err
	}
	return d.CopyIn(ctx, driver.CopyInOptions{Place: driver.Place{Task: id}, Path: "/", Tar: io.Reader(&b)})
}
