package runc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// The environment of the suite's second process.
const (
	serveOwner = "WHARF_TEST_SERVE_OWNER"
	serveRoot  = "WHARF_TEST_SERVE_ROOT"
)

func TestMain(m *testing.M) {
	Shim()
	if owner := os.Getenv(serveOwner); owner != "" {
		d, err := New(Config{Root: os.Getenv(serveRoot), Owner: owner})
		if err == nil {
			err = drivertest.Serve(context.Background(), d, os.Stdin, os.Stdout)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestConformance runs the public suite: all that a driver has to prove.
func TestConformance(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("runc needs root: run these tests as root")
	}
	o := outside{root: t.TempDir()}
	tidyNetwork(t)
	drivertest.Run(t, drivertest.Harness{
		Open:          func(_ context.Context, owner string) (driver.Driver, error) { return o.open(owner) },
		Load:          o.load,
		RemoveOutside: o.remove,
		SignalOutside: o.signal,
		Left:          o.left,
		RemoveImage:   o.removeImage,
		Process: func(ctx context.Context, owner string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), serveOwner+"="+owner, serveRoot+"="+o.root)
			return cmd
		},
	})
}

// outside reaches the runtime behind the driver's back: by the files and by runc itself.
type outside struct{ root string }

func (o outside) open(owner string) (*Driver, error) { return New(Config{Root: o.root, Owner: owner}) }

func (o outside) load(ctx context.Context, images io.Reader) error {
	d, err := o.open("suite")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Load(ctx, images)
}

// find returns the directory of a task, whoever owns it, and what runc calls it.
func (o outside) find(id driver.TaskID) (dir, container string, err error) {
	task := string(id)[:strings.LastIndexByte(string(id), '.')]
	found, err := filepath.Glob(filepath.Join(o.root, "owners", "*", "tasks", task))
	if err != nil || len(found) != 1 {
		return "", "", fmt.Errorf("task %s: found %q, %v", id, found, err)
	}
	owner := filepath.Base(filepath.Dir(filepath.Dir(found[0])))
	return found[0], owner + "_" + string(id), nil
}

func (o outside) runc(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "runc", append([]string{"--root", o.root + "/runc"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc %q: %v: %s", args, err, out)
	}
	return nil
}

// remove takes the directory away, which is the runtime's record of the task, then the container.
func (o outside) remove(ctx context.Context, id driver.TaskID) error {
	dir, container, err := o.find(id)
	if err != nil {
		return err
	}
	away := filepath.Join(o.root, "away-"+string(id))
	if err := os.Rename(dir, away); err != nil {
		return err
	}
	err = o.runc(ctx, "delete", "--force", container)
	l, lockErr := lock(ctx, filepath.Join(away, "shim.lock"))
	if err := errors.Join(err, lockErr); err != nil {
		return err
	}
	l.Close()
	return errors.Join(unix.Unmount(filepath.Join(away, "rootfs"), 0), os.RemoveAll(away))
}

func (o outside) signal(ctx context.Context, id driver.TaskID, signal int) error {
	_, container, err := o.find(id)
	if err != nil {
		return err
	}
	return o.runc(ctx, "kill", container, strconv.Itoa(signal))
}

// left looks for files, containers, and mounts.
func (o outside) left(_ context.Context, owner string) ([]string, error) {
	left, err := filepath.Glob(filepath.Join(o.root, "owners", owner, "*", "*"))
	if err != nil {
		return nil, err
	}
	containers, err := filepath.Glob(filepath.Join(o.root, "runc", owner+"_*"))
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, filepath.Join(o.root, "owners", owner)+"/") {
			left = append(left, line)
		}
	}
	return append(left, containers...), nil
}

func (o outside) removeImage(_ context.Context, image string) error {
	ref, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	images := filepath.Join(o.root, "images")
	file := filepath.Join(images, (&Driver{}).refFile(ref))
	var cfg imageConfig
	if readJSON(file, "", &cfg) != nil {
		return nil
	}
	return errors.Join(os.Remove(file), os.RemoveAll(filepath.Join(images, cfg.ID)))
}
