//go:build linux

package containerd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wharfci/wharf/driver"
)

// TestNetworkComesWithStart makes tasks that wait, which have no address, and starts one whose network somebody died over while setting it up.
func TestNetworkComesWithStart(t *testing.T) {
	t.Parallel()
	c := newDaemon(t)
	d := c.driver(c.config())
	ctx := t.Context()
	waits, err := d.Create(ctx, program("waits", "exit", "0"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.Create(ctx, program("started", "exit", "0"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := d.parse(string(id))
	if err != nil {
		t.Fatal(err)
	}
	addresses := func() int {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(d.cfg.State, "ipam", "wharf", "10.*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	if n := addresses(); n > 0 {
		t.Errorf("tasks that were not started have %d addresses", n)
	}
	a, err := d.attachmentOf(h.uid)
	if err == nil {
		_, err = d.connectNetwork(d.ctx, h.uid, a)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.Begun = true // as the one who dies has noted it
	if err := d.note(h.uid, a); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if res, err := d.Wait(ctx, id); err != nil || !res.Succeeded() {
		t.Errorf("the task: %v, %v", res, err)
	}
	if n := addresses(); n != 1 {
		t.Errorf("one task that was started has %d addresses", n)
	}
	if a, err = d.attachmentOf(h.uid); err != nil || a.Address == "" {
		t.Errorf("the task's network is %+v, %v", a, err)
	}
	if hosts, err := os.ReadFile(filepath.Join(d.taskDir(h), "hosts")); err != nil || !strings.Contains(string(hosts), a.Address+"\tstarted\n") {
		t.Errorf("the task's hosts are %q, %v; its address is %s", hosts, err, a.Address)
	}
	for _, id := range []driver.TaskID{waits, id} {
		if err := d.Remove(context.WithoutCancel(ctx), id); err != nil {
			t.Error(err)
		}
	}
	if n := addresses(); n > 0 {
		t.Errorf("%d addresses are left", n)
	}
}
