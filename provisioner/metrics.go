package provisioner

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// counters are what is counted as it happens; the rest is looked at when somebody asks.
type counters struct {
	registry  *prometheus.Registry
	triggers  *prometheus.CounterVec
	starts    prometheus.Counter
	ended     *prometheus.CounterVec
	toStart   prometheus.Histogram
	toRunning prometheus.Histogram
}

func newCounters(f *fleet) *counters {
	seconds := []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	c := &counters{
		registry: prometheus.NewRegistry(),
		triggers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wharf_provisioner_triggers_total", Help: "Triggers, by what became of them: made, repeated, or the kind of problem.",
		}, []string{"result"}),
		starts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wharf_provisioner_starts_total", Help: "Workers whose turn came and that were started.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wharf_provisioner_workers_ended_total", Help: "Workers that have ended, by their last state, and what made them fail or be lost.",
		}, []string{"state", "cause"}),
		toStart: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wharf_provisioner_queue_seconds", Help: "Time from the trigger until a worker's turn.", Buckets: seconds,
		}),
		toRunning: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wharf_provisioner_running_seconds", Help: "Time from the trigger until a worker runs its build.", Buckets: seconds,
		}),
	}
	c.registry.MustRegister(c.triggers, c.starts, c.ended, c.toStart, c.toRunning, fleetCollector{f}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return c
}

// entered counts a worker that has come into a state.
func (c *counters) entered(w *Worker, s State, cause string, at time.Time) {
	switch {
	case s == Removed:
	case s.Final():
		c.ended.WithLabelValues(string(s), cause).Inc()
	case s == Running:
		c.toRunning.Observe(at.Sub(w.Created).Seconds())
	case s == Preparing:
		c.toStart.Observe(at.Sub(w.Created).Seconds())
	}
}

var (
	workersDesc = prometheus.NewDesc("wharf_provisioner_workers", "Workers, by state.", []string{"state"}, nil)
	oldestDesc  = prometheus.NewDesc("wharf_provisioner_queue_oldest_seconds", "Age of the oldest worker in the queue; 0 if there is none.", nil, nil)
	reachDesc   = prometheus.NewDesc("wharf_provisioner_runtime_up", "1 if the runtime answers.", nil, nil)
)

// fleetCollector tells how many workers there are.
type fleetCollector struct{ f *fleet }

func (c fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- workersDesc
	ch <- oldestDesc
	ch <- reachDesc
}

// numbers returns how many workers are in each state, and the age of the oldest that is queued.
func (f *fleet) numbers(now time.Time) (number map[State]int, oldest time.Duration) {
	number = map[State]int{Queued: 0, Preparing: 0, Cloning: 0, Running: 0, Succeeded: 0, Failed: 0, Cancelled: 0, Lost: 0}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.byID {
		w := m.shown()
		number[w.State]++
		if w.State == Queued {
			oldest = max(oldest, now.Sub(w.Created))
		}
	}
	return number, oldest
}

func (c fleetCollector) Collect(ch chan<- prometheus.Metric) {
	number, oldest := c.f.numbers(time.Now())
	for s, n := range number {
		ch <- prometheus.MustNewConstMetric(workersDesc, prometheus.GaugeValue, float64(n), string(s))
	}
	up := 1.0
	if c.f.reachable() != nil {
		up = 0
	}
	ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, oldest.Seconds())
	ch <- prometheus.MustNewConstMetric(reachDesc, prometheus.GaugeValue, up)
}
