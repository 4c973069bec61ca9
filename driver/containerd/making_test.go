//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

// makerEnv holds the configuration of the driver with which this test, in a process of its own, makes tasks until it is killed.
const makerEnv = "WHARF_TEST_MAKER"

func makeForEver(text string) error {
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	d, err := New(cfg)
	if err != nil {
		return err
	}
	fmt.Println("begins")
	for n := 0; ; n++ {
		name := fmt.Sprintf("made-%d-%d", os.Getpid(), n)
		v, err := d.CreateVolume(context.Background(), driver.VolumeSpec{Name: name})
		if err != nil {
			return err
		}
		if err := d.RemoveVolume(context.Background(), v); err != nil {
			return err
		}
		spec := program(name, "exit", "3")
		spec.Secrets = []driver.Secret{{Name: "key", Path: "/run/key", Value: []byte("hidden")}}
		spec.Init = []driver.Container{{Name: "first", Image: drivertest.Image, Pull: driver.PullNever}}
		if _, err := d.Create(context.Background(), spec); err != nil {
			return err
		}
	}
}

// Whoever makes a task is killed at random moments. What has no record goes when the tasks are listed; what has one is listed.
func TestMakerIsKilled(t *testing.T) {
	if text := os.Getenv(makerEnv); text != "" {
		t.Fatal(makeForEver(text))
	}
	t.Parallel()
	c := newDaemon(t)
	cfg := c.config()
	d := c.driver(cfg)
	text, err := json.Marshal(map[string]string{
		"Address": cfg.Address, "Namespace": cfg.Namespace, "Owner": cfg.Owner, "Cgroup": cfg.Cgroup, "Subnet": cfg.Subnet, "Root": cfg.Root, "State": cfg.State,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 25 {
		maker := exec.Command(os.Args[0], "-test.run=^TestMakerIsKilled$")
		maker.Env = append(os.Environ(), makerEnv+"="+string(text))
		maker.Stderr = os.Stderr
		out, err := maker.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := maker.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(400 * time.Millisecond)))) // the moment of the kill
		if err := maker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := maker.Wait(); maker.ProcessState.ExitCode() >= 0 {
			t.Fatalf("the maker ended by itself: %v", err)
		}
	}
	list, err := d.List(t.Context(), driver.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, task := range list {
		h, err := d.parse(string(task.ID))
		if err != nil {
			t.Fatal(err)
		}
		listed[h.uid] = true
	}
	t.Logf("%d tasks were made", len(list))
	for _, dir := range []string{filepath.Join(cfg.Root, "tasks"), filepath.Join(cfg.State, "netns"), filepath.Join(cfg.State, "secrets")} {
		for _, name := range namesIn(t, dir) {
			uid := strings.TrimSuffix(name[strings.LastIndex(strings.TrimSuffix(name, ".json"), ".")+1:], ".json")
			if !listed[uid] {
				t.Errorf("left: %s, of a task that is not listed", filepath.Join(dir, name))
			}
		}
	}
	volumes, err := d.ListVolumes(t.Context(), driver.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		if err := d.RemoveVolume(t.Context(), v.ID); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{d.makingDir(), d.volumesDir()} {
		for _, name := range namesIn(t, dir) {
			t.Errorf("left: %s", filepath.Join(dir, name))
		}
	}
	for _, task := range list {
		if err := d.Remove(t.Context(), task.ID); err != nil {
			t.Error(err)
		}
	}
	c.ask(func(ctx context.Context, api *client.Client) error {
		return api.SnapshotService(d.cfg.Snapshotter).Walk(ctx, func(_ context.Context, s snapshots.Info) error {
			if s.Labels[labelUID] != "" {
				t.Errorf("left: the snapshot %s", s.Name)
			}
			return nil
		})
	})
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
