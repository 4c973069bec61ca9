package watchdog

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The kinds of actions.
const (
	kindFail   = "fail_build"
	kindDelete = "delete_worker"
)

// How rounds end, as the metrics have it.
const (
	resultOK          = "ok"
	resultSink        = "sink"
	resultProvisioner = "provisioner"
	resultHeld        = "held"
	resultFailed      = "failed"
)

// counters are what is told of a watchdog.
type counters struct {
	registry          *prometheus.Registry
	missing, unwanted prometheus.Gauge
	success           prometheus.Gauge
	actions, failed   *prometheus.CounterVec
	rounds            *prometheus.CounterVec
}

func newCounters() *counters {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "wharf_watchdog_" + name, Help: help})
	}
	vector := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wharf_watchdog_" + name, Help: help}, []string{label})
		for _, value := range values { // an alert wants to see that there was none
			v.WithLabelValues(value)
		}
		return v
	}
	c := &counters{
		registry: prometheus.NewRegistry(),
		missing:  gauge("missing_builds", "Active builds that no provisioner had a worker of, at the last look that was answered."),
		unwanted: gauge("unwanted_workers", "Workers whose build was not active, at the last look that was answered."),
		success:  gauge("last_success_timestamp_seconds", "When the last round ended in which everybody answered and everything was done that was due; 0 before the first."),
		actions:  vector("actions_total", "Builds that were failed and workers that were deleted.", "kind", kindFail, kindDelete),
		failed:   vector("action_errors_total", "Of these, those that were tried in vain; they are tried again.", "kind", kindFail, kindDelete),
		rounds: vector("rounds_total", "Rounds by how they ended: ok; sink or provisioner, which did not answer; held, since too much seemed to be wrong; failed, with something that could not be ended.",
			"result", resultOK, resultSink, resultProvisioner, resultHeld, resultFailed),
	}
	c.registry.MustRegister(c.missing, c.unwanted, c.success, c.actions, c.failed, c.rounds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return c
}

// round counts one.
func (c *counters) round(err error, now time.Time) {
	result := resultFailed
	switch {
	case err == nil:
		result = resultOK
		c.success.Set(float64(now.UnixMilli()) / 1000)
	case errors.Is(err, ErrHeld):
		result = resultHeld
	case errors.Is(err, errSink):
		result = resultSink
	case errors.Is(err, errProvisioner):
		result = resultProvisioner
	}
	c.rounds.WithLabelValues(result).Inc()
}

// Handler serves /healthz, /readyz and /metrics. It is ready if its last round was ok.
func (w *Watchdog) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.met.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		err := w.last
		w.mu.Unlock()
		if err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = rw.Write([]byte("ok\n"))
	})
	return mux
}
