package jsonout

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 5, time.UTC)

func TestPrinter(t *testing.T) {
	var got bytes.Buffer
	p := New(&got, &pipeline.Plan{Stages: []pipeline.Stage{{Name: "a b", Steps: []pipeline.Step{{ID: "s", Name: "unit (2, b)"}}}}})
	p.Start(Start{ID: "b1", Driver: "docker", Runtime: "docker 27", Results: "/r", Time: noon})
	p.Observe([]worker.Event{
		{Seq: 1, Time: noon, Kind: worker.KindBuild, State: worker.Running},
		{Seq: 2, Time: noon, Kind: worker.KindStep, Stage: "a b", Step: "s", State: worker.Failed, Attempt: 2, Reason: "why",
			Result: &driver.Result{Outcome: driver.Exited, Code: 0, Started: noon, Ended: noon}},
		{Time: noon, Kind: worker.KindPull, Image: "alpine:3", Done: 0, Total: 10, Status: "Downloading"},
		{Seq: 3, Time: noon, Kind: worker.KindArtifact, Step: "s", Name: "empty", Size: 0, SHA256: "e3b0"},
		{Seq: 4, Time: noon, Kind: worker.KindLog, Stage: "a", Step: "s", Stream: "stdout", Line: []byte("hello")},
		{Seq: 5, Time: noon, Kind: worker.KindLog, Step: "s", Container: "db", Stream: "stderr", Line: []byte("\x1b[1m\"日\"\\"), Partial: true},
		{Seq: 6, Time: noon, Kind: worker.KindLog, Step: "s", Stream: "stdout", Line: []byte{0xff, 0}},
		{Seq: 7, Time: noon, Kind: worker.KindLog, Step: "s", Stream: "stdout"},
	})
	const now = `"time":"2026-01-02T12:00:00.000000005Z"`
	want := strings.Join([]string{
		`{` + now + `,"kind":"start","id":"b1","driver":"docker","runtime":"docker 27","results":"/r"}`,
		`{"seq":1,` + now + `,"kind":"build","state":"running"}`,
		`{"seq":2,` + now + `,"kind":"step","stage":"a b","step":"s","state":"failed","reason":"why","attempt":2,"result":{"outcome":"exited","code":0,"started":"2026-01-02T12:00:00.000000005Z","ended":"2026-01-02T12:00:00.000000005Z"},"name":"unit (2, b)"}`,
		`{` + now + `,"kind":"pull","image":"alpine:3","done":0,"total":10,"status":"Downloading"}`,
		`{"seq":3,` + now + `,"kind":"artifact","step":"s","name":"empty","size":0,"sha256":"e3b0"}`,
		`{"seq":4,` + now + `,"kind":"log","stage":"a","step":"s","stream":"stdout","line":"hello"}`,
		`{"seq":5,` + now + `,"kind":"log","step":"s","container":"db","stream":"stderr","line":"\u001b[1m\"日\"\\","partial":true}`,
		`{"seq":6,` + now + `,"kind":"log","step":"s","stream":"stdout","lineBase64":"/wA="}`,
		`{"seq":7,` + now + `,"kind":"log","step":"s","stream":"stdout","line":""}`,
	}, "\n") + "\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzLogLineSurvives(f *testing.F) {
	f.Add([]byte("hello \"\\\x00\u2028"))
	f.Add([]byte{0xff, 0xfe})
	f.Fuzz(func(t *testing.T, line []byte) {
		var out bytes.Buffer
		New(&out, &pipeline.Plan{}).Observe([]worker.Event{{Kind: worker.KindLog, Time: noon, Step: "s", Line: line}})
		if bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("%q is not one line", out.String())
		}
		var got struct {
			Line       *string
			LineBase64 []byte
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Line != nil {
			got.LineBase64 = []byte(*got.Line)
		}
		if !bytes.Equal(got.LineBase64, line) {
			t.Errorf("%q became %q", line, got.LineBase64)
		}
	})
}

func BenchmarkLog(b *testing.B) {
	events := make([]worker.Event, 1000)
	for i := range events {
		events[i] = worker.Event{Seq: uint64(i + 1), Time: noon, Kind: worker.KindLog, Stage: "a", Step: "s", Stream: "stdout", Line: bytes.Repeat([]byte("x"), 100)}
	}
	p := New(discard{}, &pipeline.Plan{})
	b.ReportAllocs()
	for b.Loop() {
		p.Observe(events)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
