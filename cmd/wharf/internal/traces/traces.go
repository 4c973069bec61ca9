// Package traces sends what happens in a build to an OpenTelemetry collector, if one is configured by the standard variables of the environment
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/): a span for the build, below it one for each stage, each step, and each phase of a step.
package traces

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/wharfci/wharf/worker/journal"
)

// Tracer turns events into spans. Observe is called from one goroutine.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	build    string
	parent   context.Context
	failed   atomic.Pointer[error] // the first time that a collector did not take something

	root   context.Context
	stages map[string]context.Context
	steps  map[string]context.Context
}

// Configured reports whether the environment names a collector.
func Configured(getenv func(string) string) bool {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Start returns the tracer of a build. A TRACEPARENT in the environment is the parent of its span.
func Start(ctx context.Context, build, version string, getenv func(string) string) (*Tracer, error) {
	var exporter sdk.SpanExporter
	var err error
	switch protocol := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf"); protocol {
	case "grpc":
		exporter, err = otlptracegrpc.New(ctx)
	case "http/protobuf":
		exporter, err = otlptracehttp.New(ctx)
	default:
		err = fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL %q: must be grpc or http/protobuf", protocol)
	}
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "wharf"), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, err
	}
	return newTracer(build, exporter, about, getenv), nil
}

func newTracer(build string, exporter sdk.SpanExporter, about *resource.Resource, getenv func(string) string) *Tracer {
	t := &Tracer{build: build, stages: map[string]context.Context{}, steps: map[string]context.Context{}}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.failed.CompareAndSwap(nil, &err) }))
	t.provider = sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about), sdk.WithIDGenerator(ids{build}))
	t.tracer = t.provider.Tracer("github.com/wharfci/wharf")
	t.parent = propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": getenv("TRACEPARENT"), "tracestate": getenv("TRACESTATE")})
	return t
}

// Close sends what has not been sent yet.
func (t *Tracer) Close(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	if first := t.failed.Load(); err == nil && first != nil {
		err = *first
	}
	return err
}

// Observe takes the events of the build, in order.
func (t *Tracer) Observe(events []journal.Event) {
	for i := range events {
		switch e := &events[i]; e.Kind {
		case journal.KindBuild:
			t.buildState(e)
		case journal.KindStage:
			t.stageState(e)
		case journal.KindStep:
			t.stepState(e)
		}
	}
}

// open begins a span. Its number comes from its name: a worker that goes on after a crash sends what it sent before once more, and a collector knows it again.
func (t *Tracer) open(parent context.Context, name, key string, e *journal.Event, attrs ...attribute.KeyValue) context.Context {
	ctx := context.WithValue(parent, keyOf{}, key)
	ctx, _ = t.tracer.Start(ctx, name, trace.WithTimestamp(e.Time), trace.WithAttributes(attrs...))
	return ctx
}

// end ends a span with what became of it.
func end(ctx context.Context, e *journal.Event) {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(attribute.String("wharf.state", string(e.State)))
	switch e.State {
	case journal.Failed, journal.Errored, journal.Cancelled:
		span.SetStatus(codes.Error, e.Reason)
	case journal.Succeeded:
		span.SetStatus(codes.Ok, "")
	}
	endAt(span, e.Time)
}

// endAt ends a span, never before it began: the clock may have been set meanwhile.
func endAt(span trace.Span, when time.Time) {
	if s, ok := span.(sdk.ReadOnlySpan); ok && when.Before(s.StartTime()) {
		when = s.StartTime()
	}
	span.End(trace.WithTimestamp(when))
}

func (t *Tracer) buildState(e *journal.Event) {
	if t.root == nil {
		t.root = t.open(t.parent, "build", "build", e, attribute.String("cicd.pipeline.run.id", t.build))
	}
	if e.State.Final() {
		end(t.root, e)
	}
}

func (t *Tracer) stageState(e *journal.Event) {
	if t.root == nil || e.State == journal.Skipped {
		return
	}
	if t.stages[e.Stage] == nil {
		t.stages[e.Stage] = t.open(t.root, e.Stage, "stage "+e.Stage, e)
	}
	if e.State.Final() {
		end(t.stages[e.Stage], e)
	}
}

func (t *Tracer) stepState(e *journal.Event) {
	stage := t.stages[e.Stage]
	if stage == nil || e.State == journal.Skipped {
		return
	}
	if t.steps[e.Step] == nil {
		t.steps[e.Step] = t.open(stage, e.Step, "step "+e.Step, e, attribute.String("cicd.pipeline.task.name", e.Step))
	}
	if !e.State.Final() {
		return
	}
	span := trace.SpanFromContext(t.steps[e.Step])
	span.SetAttributes(attribute.Int("wharf.attempt", e.Attempt))
	if e.Result != nil {
		span.SetAttributes(attribute.String("wharf.outcome", e.Result.Outcome.String()), attribute.Int("process.exit.code", e.Result.Code))
	}
	for _, p := range e.Phases {
		ctx := t.open(t.steps[e.Step], p.Name, "phase "+e.Step+" "+p.Name, &journal.Event{Time: p.Began})
		endAt(trace.SpanFromContext(ctx), p.Ended)
	}
	end(t.steps[e.Step], e)
}

// keyOf is what a context has the name of the span under that is being opened.
type keyOf struct{}

// ids makes the numbers of spans from the build and their names.
type ids struct{ build string }

// NewIDs returns the numbers of the build's trace and of a span.
func (g ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	var id trace.TraceID
	sum := sha256.Sum256([]byte("trace\n" + g.build))
	copy(id[:], sum[:])
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID returns the number of a span.
func (g ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	key, _ := ctx.Value(keyOf{}).(string)
	var id trace.SpanID
	sum := sha256.Sum256([]byte(g.build + "\n" + key))
	copy(id[:], sum[:])
	return id
}
