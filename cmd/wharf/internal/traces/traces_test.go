package traces

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// events are those of a short build.
var events = []journal.Event{
	{Time: at(0), Kind: journal.KindBuild, State: journal.Running},
	{Time: at(0), Kind: journal.KindStage, Stage: "one", State: journal.Running},
	{Time: at(1), Kind: journal.KindStep, Stage: "one", Step: "one--a", State: journal.Starting, Attempt: 1},
	{Time: at(5), Kind: journal.KindStep, Stage: "one", Step: "one--a", State: journal.Failed, Attempt: 1, Reason: "exited with code 2",
		Result: &driver.Result{Outcome: driver.Exited, Code: 2}, Phases: []journal.Phase{{Name: journal.PhaseRun, Began: at(2), Ended: at(4)}}},
	{Time: at(6), Kind: journal.KindStage, Stage: "one", State: journal.Failed, Reason: "one/a: exited with code 2"},
	{Time: at(6), Kind: journal.KindStage, Stage: "two", State: journal.Skipped},
	{Time: at(7), Kind: journal.KindBuild, State: journal.Failed, Reason: "one/a: exited with code 2"},
}

// collect is a collector that remembers spans.
func collect(t *testing.T) (url string, spans func() []*tracev1.Span) {
	var mu sync.Mutex
	var all []*tracev1.Span
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		text, err := io.ReadAll(body)
		var req collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(text, &req) != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "what is that?", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range req.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				all = append(all, ss.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []*tracev1.Span {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// send has a tracer send the events, and returns what arrived: name, parent, status and length of each span.
func send(t *testing.T, build string) (got map[string]string, ids map[string]string) {
	t.Helper()
	url, spans := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	env := map[string]string{"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	tr, err := Start(t.Context(), build, "test", func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	tr.Observe(events)
	if err := tr.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"\xb7\xad\x6b\x71\x69\x20\x33\x31": "outside"}
	for _, s := range spans() {
		names[string(s.GetSpanId())] = s.GetName()
	}
	got, ids = map[string]string{}, map[string]string{}
	for _, s := range spans() {
		length := time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano())
		got[s.GetName()] = names[string(s.GetParentSpanId())] + " " + s.GetStatus().GetCode().String() + " " + length.String()
		ids[s.GetName()] = string(s.GetTraceId()) + string(s.GetSpanId())
	}
	return got, ids
}

func TestSpans(t *testing.T) {
	got, ids := send(t, "b1")
	want := map[string]string{
		"build": "outside STATUS_CODE_ERROR 7s", "one": "build STATUS_CODE_ERROR 6s", "one--a": "one STATUS_CODE_ERROR 4s", "run": "one--a STATUS_CODE_UNSET 2s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	_, again := send(t, "b1")
	if diff := cmp.Diff(ids, again); diff != "" {
		t.Errorf("the same build once more has other numbers:\n%s", diff)
	}
	_, other := send(t, "b2")
	if ids["run"] == other["run"] {
		t.Error("another build has the same numbers")
	}
}

func TestConfigured(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		if got := Configured(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %v, want %v", c.env, got, c.want)
		}
	}
	if _, err := Start(t.Context(), "b", "v", func(string) string { return "carrier-pigeon" }); err == nil {
		t.Error("an unknown protocol is taken")
	}
}
