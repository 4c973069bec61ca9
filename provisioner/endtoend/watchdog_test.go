package endtoend

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/provisioner"
)

// TestWatchdog has builds without workers and a worker without a build, and no aggregator: the watchdog ends them, and leaves the rest as it is.
func TestWatchdog(t *testing.T) {
	p := begin(t)
	api := wharfAPI(t, wharfapitest.Options{})
	d := newDesk(t, nobody)
	p.repository("visit", "main", d.definition())
	const good, lost, removed, unwanted = 1, 2, 3, 4
	var workers [5]provisioner.Worker
	for _, build := range []int{good, removed, unwanted} {
		api.Add(uint64(build))
		workers[build] = p.trigger(build, "visit", "main")
		p.until(workers[build].ID, provisioner.Running)
	}
	api.Add(lost)
	if err := p.workers.Remove(t.Context(), p.task(workers[removed].ID)); err != nil {
		t.Fatal(err)
	}
	p.gone(workers[removed].ID)
	api.Change(unwanted, func(b *wharfapitest.Build) { b.Status = "Failed" })

	if code, said := p.watchdog(api, "--dry-run"); code != 1 {
		t.Errorf("a dry run ends with %d:\n%s", code, said)
	}
	for _, build := range []uint64{lost, removed} {
		if b := api.Build(build); b.Count > 0 || b.Status != "Scheduling" {
			t.Errorf("after a dry run build %d is %s: %q", build, b.Status, messages(b))
		}
	}
	p.until(workers[unwanted].ID, provisioner.Running)

	if code, said := p.watchdog(api); code != 1 {
		t.Errorf("it ends with %d:\n%s", code, said)
	}
	for _, build := range []uint64{lost, removed} {
		b := api.Build(build)
		if b.Status != "Failed" || b.Count != 1 || !strings.HasPrefix(messages(b)[0], "wharf: no worker was found for this build") {
			t.Errorf("build %d is %s: %q", build, b.Status, messages(b))
		}
		t.Logf("build %d: %q", build, messages(b))
	}
	p.gone(workers[unwanted].ID)
	if b := api.Build(good); b.Status != "Scheduling" || b.Count > 0 {
		t.Errorf("a build that has its worker is %s: %q", b.Status, messages(b))
	}
	p.until(workers[good].ID, provisioner.Running)

	if code, said := p.watchdog(api); code != 0 {
		t.Errorf("where all is well it ends with %d:\n%s", code, said)
	}
	d.letAll()
	p.until(workers[good].ID, provisioner.Succeeded)
	if err := p.client.Delete(t.Context(), workers[good].ID); err != nil {
		t.Fatal(err)
	}
	p.gone()
}

// watchdog looks once, and returns the exit code and what was said.
func (p *process) watchdog(api *wharfapitest.Server, flags ...string) (code int, said string) {
	p.t.Helper()
	token := ""
	for _, a := range p.args {
		if name, file, _ := strings.Cut(a, "=wharf-api="); name == "--token" {
			token = file
		}
	}
	args := append([]string{"watchdog", "--once", "--grace=3s", "--every=1s", "--wharf-api=" + api.URL(), "--provisioner=" + p.base, "--provisioner-token=" + token}, flags...)
	out, err := exec.CommandContext(p.t.Context(), wharf, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}
