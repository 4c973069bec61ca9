package transcript

import (
	"testing"

	"github.com/wharfci/wharf/worker/journal"
)

// There are never more lines than Most has said, also where the end of a step ends several that were open.
func TestMost(t *testing.T) {
	part := func(first uint64, stream string, partial bool) *journal.Batch {
		return &journal.Batch{First: first, Event: journal.Event{Kind: journal.KindLog, Step: "s"}, Runs: []journal.Run{{Lines: 1, Stream: stream, Partial: partial}}}
	}
	tr := New()
	for _, b := range []*journal.Batch{
		part(1, "stdout", true), part(2, "stderr", true), part(3, "wharf", false),
		{First: 4, Event: journal.Event{Kind: journal.KindStep, Step: "s", State: journal.Failed}},
		{First: 5, Event: journal.Event{Kind: journal.KindBuild, State: journal.Failed}},
	} {
		most := tr.Most(b)
		if _, err := tr.Add(b); err != nil {
			t.Fatal(err)
		}
		if tr.Lines > most {
			t.Errorf("entry %d makes %d lines of at most %d", b.First, tr.Lines, most)
		}
	}
	if tr.Lines != 4 || !tr.Whole() {
		t.Errorf("there are %d lines, whole: %v", tr.Lines, tr.Whole())
	}
}
