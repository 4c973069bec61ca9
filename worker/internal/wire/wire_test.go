package wire

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
)

var batches = []*journal.Batch{
	{First: 7, Event: journal.Event{Kind: journal.KindLog, Step: "a--b", Attempt: 2}, Text: []byte("2026-01-02T03:04:05.000000006Z one\n2026-01-02T03:04:05.000000007Z two\n"), Bytes: 70,
		Runs: []journal.Run{{Lines: 1, Stream: "stdout", Partial: true}, {Lines: 1, Container: "db", Stream: "stderr"}}},
	{First: 9, Event: journal.Event{Seq: 9, Time: time.Unix(5, 6).UTC(), Kind: journal.KindStep, Stage: "a", Step: "a--b", State: journal.Failed, Reason: "why", Attempt: 1,
		Result: &driver.Result{Outcome: driver.Exited, Code: 3, Started: time.Unix(3, 0).UTC(), Ended: time.Unix(4, 0).UTC()},
		Phases: []journal.Phase{{Name: journal.PhaseRun, Began: time.Unix(3, 0).UTC(), Ended: time.Unix(4, 0).UTC()}}}},
	{First: 10, Event: journal.Event{Seq: 10, Kind: journal.KindArtifact, Step: "a--b", Name: "x/y", Size: 1 << 40, SHA256: "abc"}},
	{First: 11, Event: journal.Event{Seq: 11, Kind: journal.KindTests, Step: "a--b", Name: "x", Tests: &journal.Tests{Total: 3, Passed: 1, Failed: 1, Skipped: 1, Took: time.Second, Failures: []string{"f"}}}},
}

func TestRoundTrip(t *testing.T) {
	for _, want := range batches {
		got, err := FromBatch(Batch(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-sent +received):\n%s", diff)
		}
	}
}

// What a worker that went mad sends is refused, or makes events.
func FuzzFromBatch(f *testing.F) {
	for _, b := range batches {
		text, err := proto.Marshal(Batch(b))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var msg workerv1.Batch
		if proto.Unmarshal(text, &msg) != nil {
			return
		}
		b, err := FromBatch(&msg)
		if err != nil {
			return
		}
		var decode journal.Decoder
		events, err := decode.Append(nil, b)
		if err == nil && len(events) != b.Len() {
			t.Errorf("%d events of a batch of %d", len(events), b.Len())
		}
	})
}
