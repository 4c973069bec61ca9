package aggregator

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// counters are what is counted as it happens; the rest is looked at when somebody asks.
type counters struct {
	registry  *prometheus.Registry
	lines     prometheus.Counter
	avoided   prometheus.Counter
	files     prometheus.Counter
	claims    prometheus.Counter
	takeovers prometheus.Counter
	passed    prometheus.Counter
	verdicts  prometheus.Counter
	builds    *prometheus.CounterVec
}

func newCounters(a *Aggregator) *counters {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "wharf_aggregator_" + name, Help: help})
	}
	c := &counters{
		registry:  prometheus.NewRegistry(),
		lines:     counter("lines_total", "Lines that were sent to the sink."),
		avoided:   counter("resends_avoided_total", "Lines that the sink had already when a build was taken up, and that were not sent again."),
		files:     counter("artifacts_total", "Artifacts that the sink has taken."),
		claims:    counter("claims_total", "Claims of workers that were granted."),
		takeovers: counter("takeovers_total", "Of these, those of workers whose last holder had not given them back."),
		passed:    counter("passed_total", "Workers that were passed on to an aggregator that had fewer, or since this one could not reach the sink."),
		verdicts:  counter("verdicts_total", "Builds whose end was reported in place of their worker, which had ended before."),
		builds:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wharf_aggregator_builds_total", Help: "Builds that were reported to their end, by state."}, []string{"state"}),
	}
	c.registry.MustRegister(c.lines, c.avoided, c.files, c.claims, c.takeovers, c.verdicts, c.passed, c.builds, fleetCollector{a}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return c
}

var (
	lagDesc     = prometheus.NewDesc("wharf_aggregator_lag_entries", "Entries of a worker's journal that the sink has not confirmed, of workers that this aggregator has.", []string{"worker"}, nil)
	workersDesc = prometheus.NewDesc("wharf_aggregator_workers", "Workers that this aggregator has the claim of.", nil, nil)
	runtimeDesc = prometheus.NewDesc("wharf_aggregator_runtime_up", "1 if the runtime tells what happens.", nil, nil)
	contactDesc = prometheus.NewDesc("wharf_aggregator_sink_reachable", "1 if the sink can be reached; who cannot passes its workers on.", nil, nil)
	sinkDesc    = prometheus.NewDesc("wharf_aggregator_sink_up", "1 if the sink has taken what it was sent last.", nil, nil)
)

// Bounds of asking workers how long their journals are.
const (
	lagBound  = 5 * time.Second
	lagAtOnce = 16
)

// fleetCollector tells where the workers stand.
type fleetCollector struct{ a *Aggregator }

// Describe is of prometheus.Collector.
func (c fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagDesc, workersDesc, runtimeDesc, sinkDesc, contactDesc} {
		ch <- d
	}
}

// Collect is of prometheus.Collector.
func (c fleetCollector) Collect(ch chan<- prometheus.Metric) {
	held := 0
	ctx, cancel := context.WithTimeout(context.Background(), lagBound)
	defer cancel()
	var asking errgroup.Group
	asking.SetLimit(lagAtOnce)
	for _, m := range c.a.fleet.all() {
		if s := m.standing(); s.worker != nil {
			held++
			asking.Go(func() error {
				ch <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, float64(m.lag(ctx, s)), m.worker.ID)
				return nil
			})
		}
	}
	_ = asking.Wait()
	up := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	ch <- prometheus.MustNewConstMetric(workersDesc, prometheus.GaugeValue, float64(held))
	ch <- prometheus.MustNewConstMetric(runtimeDesc, prometheus.GaugeValue, up(c.a.fleet.reachable() == nil))
	ch <- prometheus.MustNewConstMetric(contactDesc, prometheus.GaugeValue, up(!c.a.contact.isLost()))
	ch <- prometheus.MustNewConstMetric(sinkDesc, prometheus.GaugeValue, up(c.a.tide.trouble() == nil))
}

// Handler serves /healthz, /readyz and /metrics.
func (a *Aggregator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.met.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.fleet.reachable(); err != nil {
			http.Error(w, "the runtime does not tell what happens: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		if err := a.cfg.Sink.Ready(r.Context()); err != nil {
			http.Error(w, "the sink does not answer: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}
