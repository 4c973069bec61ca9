package server

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wharfci/wharf/worker/journal"
)

// Handler serves /healthz (200 as long as the process answers), /readyz (503, with the reason, if the journal cannot be written or read) and
// /metrics (Prometheus). They need no token, and tell nothing of what a build prints.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := s.view.ready()
		if err == nil {
			err = s.cfg.Build.Journal().Err()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	metrics := promhttp.HandlerFor(s.view.metrics.registry, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		s.view.catchUp(r.Context())
		metrics.ServeHTTP(w, r)
	})
	return mux
}

// metrics are what Prometheus reads.
type metrics struct {
	registry *prometheus.Registry
	steps    *prometheus.CounterVec
	running  prometheus.Gauge
	phases   *prometheus.HistogramVec
	lines    *prometheus.CounterVec
	bytes    prometheus.Counter
	entries  prometheus.Gauge
	state    *prometheus.GaugeVec

	ready   map[string]journal.Event // when each stage began, by name
	started map[string]bool          // steps that run
}

// seconds are the buckets of durations, from a tenth of a second to an hour and a half.
var seconds = prometheus.ExponentialBuckets(0.1, 3, 11)

func newMetrics(v *view) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		steps:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wharf_worker_steps_total", Help: "Steps that have ended, by how."}, []string{"state"}),
		running:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "wharf_worker_steps_running", Help: "Steps that run now."}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wharf_worker_step_phase_seconds",
			Help: "Where the time of steps went: queue, pull, create, start, run, copy.", Buckets: seconds}, []string{"phase"}),
		lines:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wharf_worker_log_lines_total", Help: "Log lines that were kept."}, []string{"stream"}),
		bytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "wharf_worker_log_bytes_total", Help: "Bytes of logs that were kept, with their times."}),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{Name: "wharf_worker_journal_entries", Help: "The number of the journal's last entry."}),
		state:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wharf_worker_build_state", Help: "1 for the state that the build is in."}, []string{"state"}),
		ready:   map[string]journal.Event{}, started: map[string]bool{},
	}
	lag := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wharf_worker_journal_lag_entries", Help: "Entries of the journal that no client has been sent yet."},
		func() float64 { return float64(v.lag()) })
	m.registry.MustRegister(m.steps, m.running, m.phases, m.lines, m.bytes, m.entries, m.state, lag,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.state.WithLabelValues(string(journal.Running)).Set(1)
	return m
}

// add counts what a batch of the journal tells. One goroutine calls it.
func (m *metrics) add(b *journal.Batch) {
	m.entries.Set(float64(b.Last()))
	e := &b.Event
	switch e.Kind {
	case journal.KindLog:
		for _, r := range b.Runs {
			m.lines.WithLabelValues(r.Stream).Add(float64(r.Lines))
		}
		m.bytes.Add(float64(b.Bytes))
	case journal.KindBuild:
		m.state.Reset()
		m.state.WithLabelValues(string(e.State)).Set(1)
	case journal.KindStage:
		if e.State == journal.Running {
			m.ready[e.Stage] = *e
		}
	case journal.KindStep:
		m.step(e)
	}
}

func (m *metrics) step(e *journal.Event) {
	switch {
	case e.State == journal.Starting && !m.started[e.Step]:
		m.started[e.Step] = true
		m.running.Inc()
		if stage, ok := m.ready[e.Stage]; ok {
			m.phases.WithLabelValues("queue").Observe(max(0, e.Time.Sub(stage.Time).Seconds()))
		}
	case e.State.Final():
		m.steps.WithLabelValues(string(e.State)).Inc()
		if m.started[e.Step] {
			m.running.Dec()
			delete(m.started, e.Step)
		}
	}
	for _, p := range e.Phases {
		m.phases.WithLabelValues(p.Name).Observe(max(0, p.Ended.Sub(p.Began).Seconds()))
	}
}
