// Package wire turns what a journal holds into messages of the worker's API, and back.
package wire

import (
	"bytes"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
)

// Time is t as a message; nil for the zero time.
func Time(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// FromTime is the time of a message, in UTC; the zero time for nil.
func FromTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// Batch is b as a message, which shares its text.
func Batch(b *journal.Batch) *workerv1.Batch {
	if b.Event.Kind != journal.KindLog {
		return &workerv1.Batch{First: b.First, What: &workerv1.Batch_Event{Event: event(&b.Event)}}
	}
	runs := make([]*workerv1.Run, len(b.Runs))
	for i, r := range b.Runs {
		runs[i] = &workerv1.Run{Lines: int32(r.Lines), Container: r.Container, Stream: r.Stream, Partial: r.Partial}
	}
	return &workerv1.Batch{First: b.First, What: &workerv1.Batch_Lines{Lines: &workerv1.Lines{
		Step: b.Event.Step, Attempt: int32(b.Event.Attempt), Runs: runs, Text: b.Text,
	}}}
}

func event(e *journal.Event) *workerv1.Event {
	out := &workerv1.Event{
		Time: Time(e.Time), Kind: string(e.Kind), Stage: e.Stage, Step: e.Step, State: string(e.State), Reason: e.Reason, Attempt: int32(e.Attempt),
		Name: e.Name, Size: e.Size, Sha256: e.SHA256,
	}
	if r := e.Result; r != nil {
		out.Result = &workerv1.Result{
			Outcome: r.Outcome.String(), Code: int32(r.Code), Signal: int32(r.Signal), Container: r.Container, Reason: r.Reason,
			Started: Time(r.Started), Ended: Time(r.Ended),
		}
	}
	for _, p := range e.Phases {
		out.Phases = append(out.Phases, &workerv1.Phase{Name: p.Name, Began: Time(p.Began), Ended: Time(p.Ended)})
	}
	if t := e.Tests; t != nil {
		out.Tests = &workerv1.Tests{
			Total: int32(t.Total), Passed: int32(t.Passed), Failed: int32(t.Failed), Skipped: int32(t.Skipped), Took: durationpb.New(t.Took), Failures: t.Failures,
		}
	}
	return out
}

// FromBatch is the batch that a message holds, which shares its text; there may be none. A message that holds nothing that is known has an event without a kind.
func FromBatch(b *workerv1.Batch) (*journal.Batch, error) {
	lines := b.GetLines()
	if lines == nil {
		return &journal.Batch{First: b.GetFirst(), Event: fromEvent(b.GetFirst(), b.GetEvent())}, nil
	}
	out := &journal.Batch{
		First: b.GetFirst(), Event: journal.Event{Kind: journal.KindLog, Step: lines.GetStep(), Attempt: int(lines.GetAttempt())},
		Text: lines.GetText(), Bytes: int64(len(lines.GetText())),
	}
	for _, r := range lines.GetRuns() {
		if r.GetLines() < 1 {
			return nil, fmt.Errorf("entry %d: a run of %d lines", b.GetFirst(), r.GetLines())
		}
		out.Runs = append(out.Runs, journal.Run{Lines: int(r.GetLines()), Container: r.GetContainer(), Stream: r.GetStream(), Partial: r.GetPartial()})
	}
	if n := bytes.Count(out.Text, []byte{'\n'}); out.Len() == 0 || n != out.Len() && n > 0 {
		return nil, fmt.Errorf("entry %d: %d lines of text, and %d in runs", b.GetFirst(), n, out.Len())
	}
	return out, nil
}

func fromEvent(seq uint64, e *workerv1.Event) journal.Event {
	out := journal.Event{
		Seq: seq, Time: FromTime(e.GetTime()), Kind: journal.Kind(e.GetKind()), Stage: e.GetStage(), Step: e.GetStep(), State: journal.State(e.GetState()),
		Reason: e.GetReason(), Attempt: int(e.GetAttempt()), Name: e.GetName(), Size: e.GetSize(), SHA256: e.GetSha256(),
	}
	if r := e.GetResult(); r != nil {
		out.Result = &driver.Result{
			Code: int(r.GetCode()), Signal: int(r.GetSignal()), Container: r.GetContainer(), Reason: r.GetReason(),
			Started: FromTime(r.GetStarted()), Ended: FromTime(r.GetEnded()),
		}
		_ = out.Result.Outcome.UnmarshalText([]byte(r.GetOutcome())) // a word that is not known is Unknown
	}
	for _, p := range e.GetPhases() {
		out.Phases = append(out.Phases, journal.Phase{Name: p.GetName(), Began: FromTime(p.GetBegan()), Ended: FromTime(p.GetEnded())})
	}
	if t := e.GetTests(); t != nil {
		out.Tests = &journal.Tests{
			Total: int(t.GetTotal()), Passed: int(t.GetPassed()), Failed: int(t.GetFailed()), Skipped: int(t.GetSkipped()), Took: t.GetTook().AsDuration(), Failures: t.GetFailures(),
		}
	}
	return out
}
