package endtoend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

// mostGrowth is by how many bytes the memory of a service may grow while wharf-api is away: far less than is printed meanwhile.
const mostGrowth = 48 << 20

// TestOutage has wharf-api away while builds print: nothing is lost, memory stays as it is, the lag can be seen, and all is there soon after wharf-api is back.
func TestOutage(t *testing.T) {
	const builds = 2
	away := time.Duration(sample(15, 3600)) * time.Second
	p := begin(t)
	api := wharfAPI(t, wharfapitest.Options{})
	d, at := newDesk(t, nobody), ownAddress(t)
	a := p.aggregator("one", p.url, api, "--http="+at)
	p.repository("talk", "main", d.talking(100, 0.2))
	for build := 1; build <= builds; build++ {
		api.Add(uint64(build))
		p.trigger(build, "talk", "main")
	}
	for build := 1; build <= builds; build++ {
		p.report(api, build, "printing", func(b *wharfapitest.Build) bool { return b.Count >= 1000 })
	}
	before, workers := resident(t, a.pid()), workersResident(t)

	api.Down()
	gone := time.NewTimer(away)
	stored := 0
	for build := 1; build <= builds; build++ {
		stored += api.Count(uint64(build))
	}
	<-gone.C
	after, workersAfter := resident(t, a.pid()), workersResident(t)
	lag := scrape(t, at)
	behind := p.behind(a)
	t.Logf("after %v the aggregator has %d MiB, before %d; the largest worker %d MiB, before %d; the lag is %.0f entries in the metrics, %d in wharf ps", away, after>>20, before>>20, workersAfter>>20, workers>>20, lag, behind)
	if after > before+mostGrowth || workersAfter > workers+mostGrowth {
		t.Errorf("memory grows while wharf-api is away")
	}
	if lag < 1 || behind < 1 {
		t.Errorf("nothing says that something is behind")
	}

	d.letAll()
	if err := api.Up(); err != nil {
		t.Fatal(err)
	}
	back, lines := time.Now(), 0
	for build := 1; build <= builds; build++ {
		b := p.finished(api, build)
		lines += p.complete(&b)
	}
	t.Logf("%d lines, %d of them after wharf-api was back, in %v", lines, lines-stored, time.Since(back).Round(10*time.Millisecond))
	p.gone()
}

// pid is that of the command.
func (d *daemon) pid() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cmd.Process.Pid
}

// resident is how much memory a process has, in bytes.
func resident(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return kib << 10
}

// workersResident is how much the worker has that has most.
func workersResident(t testing.TB) (most int) {
	t.Helper()
	_, children := workerProcesses()
	for _, pid := range children {
		most = max(most, resident(t, pid))
	}
	return most
}

// scrape is the lag in the metrics, of all workers.
func scrape(t testing.TB, at string) (lag float64) {
	t.Helper()
	res, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all["wharf_aggregator_lag_entries"].GetMetric() {
		lag += m.GetGauge().GetValue()
	}
	return lag
}

// behind is the lag as wharf ps tells it, of all workers.
func (s *system) behind(a *daemon) (lag uint64) {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), wharf, "ps", "--workers", "--output=json", "--driver="+s.url, a.flag("worker-key")).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	var rows []struct{ Behind uint64 }
	if err := json.Unmarshal(out, &rows); err != nil {
		s.t.Fatalf("%s: %v", out, err)
	}
	for _, r := range rows {
		lag += r.Behind
	}
	return lag
}

// flag is one of its flags, with its value.
func (d *daemon) flag(name string) string {
	for _, a := range d.args {
		if strings.HasPrefix(a, "--"+name+"=") {
			return a
		}
	}
	return ""
}
