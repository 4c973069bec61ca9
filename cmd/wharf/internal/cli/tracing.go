package cli

import (
	"context"
	"os"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/traces"
	"github.com/wharfci/wharf/worker"
)

// tracing sends the build's spans to a collector, if one is configured.
type tracing struct {
	tracer *traces.Tracer
	warn   func(format string, args ...any)
}

// sendBound is how long the end of a build waits for the collector.
const sendBound = 10 * time.Second

// newTracing begins to send. A collector that cannot be used is a warning, and no more.
func newTracing(ctx context.Context, build string, warn func(format string, args ...any)) *tracing {
	t := &tracing{warn: warn}
	if !traces.Configured(os.Getenv) {
		return t
	}
	tracer, err := traces.Start(ctx, build, self().String(), os.Getenv)
	if err != nil {
		warn("no traces are sent: %v", err)
		return t
	}
	t.tracer = tracer
	return t
}

func (t *tracing) observe(events []worker.Event) {
	if t.tracer != nil {
		t.tracer.Observe(events)
	}
}

func (t *tracing) close() {
	if t.tracer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendBound)
	defer cancel()
	if err := t.tracer.Close(ctx); err != nil {
		t.warn("not all traces were sent: %v", err)
	}
}
