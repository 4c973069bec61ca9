package aggregator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/aggregator/internal/transcript"
	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// scribble writes a journal of several steps that print at once, also lines in parts, keep artifacts and are tried again.
func scribble(t *testing.T, r *rand.Rand) *remains {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Create(dir, journal.Options{Build: "b"})
	if err != nil {
		t.Fatal(err)
	}
	logs := map[string]*journal.Log{}
	for _, step := range []string{"a/one", "a/two", "b/three"} {
		logs[step] = j.Log(step)
	}
	steps := []string{"a/one", "a/two", "b/three"}
	for i := range 300 {
		step := steps[r.IntN(len(steps))]
		switch r.IntN(20) {
		case 0:
			j.Append(journal.Event{Kind: journal.KindWarning, Step: step, Reason: fmt.Sprint("warning ", i)})
		case 1:
			j.Append(journal.Event{Kind: journal.KindArtifact, Step: step, Name: fmt.Sprintf("out/%d.txt", r.IntN(5)), Size: int64(i)})
		case 2:
			if len(steps) > 1 {
				logs[step].Close()
				j.Append(journal.Event{Kind: journal.KindStep, Step: step, State: journal.Succeeded})
				steps = slices.DeleteFunc(slices.Clone(steps), func(s string) bool { return s == step })
			}
		default:
			stream := []string{"stdout", "stderr"}[r.IntN(2)]
			logs[step].Write(time.Unix(int64(i), 0), []string{"", "db"}[r.IntN(2)], stream, fmt.Appendf(nil, "%s %d\xff\x00é", step, i), r.IntN(4) == 0)
			if r.IntN(5) == 0 {
				logs[step].Flush()
			}
		}
	}
	for _, step := range steps {
		logs[step].Close()
		j.Append(journal.Event{Kind: journal.KindStep, Step: step, State: journal.Failed})
	}
	j.Append(journal.Event{Kind: journal.KindBuild, State: journal.Failed, Reason: "a reason\nof two lines"})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return &remains{dir: dir}
}

// rest reads a journal on, and returns the lines behind the first ones.
func rest(t *testing.T, tr *transcript.Transcript, s source, after, have uint64) (lines []sink.Line) {
	t.Helper()
	for b, err := range s.Batches(context.Background(), client.ReadOptions{After: after}) {
		if err != nil {
			t.Fatal(err)
		}
		before := tr.Lines
		some, err := tr.Add(b)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range some {
			if before+uint64(i) >= have {
				l.Text = slices.Clone(l.Text)
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// However many lines the sink has, the relay goes on with the next one: from each it makes the same lines, artifacts and end.
func TestResume(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		s := scribble(t, rand.New(rand.NewPCG(seed, 0)))
		whole := transcript.New()
		all := rest(t, whole, s, 0, 0)
		if len(all) < 100 || !whole.State.Final() || !whole.Whole() {
			t.Fatalf("seed %d: %d lines, %s", seed, len(all), whole.State)
		}
		for _, l := range all {
			if strings.ContainsAny(string(l.Text), "\n\x00") || strings.ToValidUTF8(string(l.Text), "") != string(l.Text) {
				t.Errorf("seed %d: the line %q", seed, l.Text)
			}
		}
		for have := range uint64(len(all) + 3) {
			tr, after, err := resume(t.Context(), s, have)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(all[min(have, uint64(len(all))):], rest(t, tr, s, after, have), cmp.Transformer("", func(l []sink.Line) []string { return texts(l) })); diff != "" {
				t.Fatalf("seed %d, from line %d (-want +got):\n%s", seed, have, diff)
			}
			if diff := cmp.Diff(whole.Artifacts, tr.Artifacts); diff != "" {
				t.Fatalf("seed %d, from line %d (-want +got):\n%s", seed, have, diff)
			}
		}
	}
}

func texts(of []sink.Line) []string {
	all := []string{}
	for _, l := range of {
		all = append(all, fmt.Sprintf("%s %d %d %s", l.Step, l.Entry, l.Time.Unix(), l.Text))
	}
	return all
}
