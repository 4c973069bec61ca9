package docker

import (
	"testing"

	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// Want of memory is told apart from all other ends under a memory limit, however busy the machine is, and each answer stays the same.
func TestStarvation(t *testing.T) {
	d := open(t)
	for _, test := range []struct {
		name   string
		script string
		kill   bool
		want   driver.Outcome
		code   int
	}{
		{name: "at once", script: "exec tail /dev/zero", want: driver.OutOfMemory, code: 137},
		{name: "killed by the kernel for another reason", script: "ulimit -t 2; while :; do :; done", want: driver.Signaled, code: 137},
		{name: "killed by a user", script: "sleep 100", kill: true, want: driver.Signaled, code: 137},
		{name: "failed", script: "exit 1", want: driver.Exited, code: 1},
		{name: "child", script: "sleep 0.3; tail /dev/zero; exit 3", want: driver.OutOfMemory, code: 3},
		{name: "child, and all is well", script: "sleep 0.3; tail /dev/zero; exit 0", want: driver.Exited, code: 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := driver.TaskSpec{Container: sh(test.script)}
			spec.Container.Resources.Memory = 64 << 20
			id := create(t, d, spec)
			if err := d.Start(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if test.kill {
				h, err := d.parse(string(id))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.api.ContainerKill(t.Context(), h.container, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				res, err := d.Wait(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if res.Outcome != test.want || res.Code != test.code {
					t.Errorf("the result is %+v; want %s with code %d", res, test.want, test.code)
				}
			}
		})
	}
}
