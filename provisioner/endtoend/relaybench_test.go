package endtoend

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

// BenchmarkRelay takes how long a line takes from a container's output, by the runtime's timestamp, to where the stand-in for wharf-api has stored it, of a build that prints about a thousand lines a second.
func BenchmarkRelay(b *testing.B) {
	const lines = 10_000
	s := prepare(b)
	p := s.provisioner("--rate=-1")
	b.Cleanup(s.empty)
	api := wharfAPI(b, wharfapitest.Options{})
	p.aggregator("one", p.url, api)
	build := 0
	var delays []time.Duration
	var rate float64
	for b.Loop() {
		build++
		d := newDesk(b, nobody)
		p.repository(fmt.Sprint("talk", build), "main", d.talking(20, 0.02))
		api.Add(uint64(build))
		p.trigger(build, fmt.Sprint("talk", build), "main")
		p.report(api, build, "printing", func(b *wharfapitest.Build) bool { return b.Count >= lines })
		d.letAll()
		got := p.finished(api, build)
		p.complete(&got)
		for i := lines / 10; i < lines; i++ { // the first wait for the relay to begin
			delays = append(delays, got.Stored[i].Sub(got.Lines[i].Time))
		}
		rate = float64(lines) / got.Lines[lines-1].Time.Sub(got.Lines[0].Time).Seconds()
	}
	p.gone()
	b.ReportMetric(rate, "lines/s")
	b.ReportMetric(at(delays, 0.5).Seconds()*1000, "median-ms")
	b.ReportMetric(at(delays, 0.99).Seconds()*1000, "p99-ms")
}

// BenchmarkIdleWorkers takes what workers cost an aggregator that have nothing to say, reached through the runtime.
func BenchmarkIdleWorkers(b *testing.B) {
	number := sample(20, 100)
	s := prepare(b)
	p := s.provisioner("--rate=-1", fmt.Sprint("--limit=", number))
	b.Cleanup(s.empty)
	api := wharfAPI(b, wharfapitest.Options{})
	a := p.aggregator("one", p.url, api)
	d := newDesk(b, nobody)
	p.repository("stays", "main", d.waiting())
	crowd(number, 4, func(i int) {
		api.Add(uint64(i + 1))
		p.trigger(i+1, "stays", "main")
	})
	if b.Failed() {
		b.FailNow()
	}
	for build := 1; build <= number; build++ {
		p.report(api, build, "begun", func(b *wharfapitest.Build) bool { return b.Count == 1 })
	}
	for b.Loop() {
		begin, before := time.Now(), used(b, a.pid())
		time.Sleep(30 * time.Second) // what is measured is that nothing happens
		b.ReportMetric((used(b, a.pid())-before).Seconds()/time.Since(begin).Seconds()*100, "%core")
		b.ReportMetric(float64(resident(b, a.pid())>>20), "MiB")
	}
	b.ReportMetric(float64(number), "workers")
	d.letAll()
	for build := 1; build <= number; build++ {
		p.finished(api, build)
	}
	p.gone()
}

// used is how much processor time a process has used; the system counts it in hundredths of a second.
func used(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var state string
	var n [12]int
	if _, err := fmt.Sscan(rest, &state, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7], &n[8], &n[9], &n[10], &n[11]); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return time.Duration(n[10]+n[11]) * 10 * time.Millisecond
}
