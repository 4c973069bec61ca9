// Package transcript makes of a worker's journal what a sink gets: lines in one order, artifacts, an end. It is a function of the journal alone: whoever reads the same journal makes the
// same lines, so their number says where another has stopped. What it makes must therefore not change while builds run: not from one version to the next either, but with great care.
//
// A line is what a container printed up to its newline. The journal has a very long one in parts; up to maxParts of them are put together. Beside what was printed there are lines of Wharf's own,
// which begin with "wharf: ": warnings, and why a build did not succeed.
package transcript

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/worker/journal"
)

// maxParts is how many parts of a line are put together; a part has 64 KiB at most, and with what stands for bytes that are no text it may become twice as long.
const maxParts = 8

// Own begins the lines that no container has printed.
const Own = "wharf: "

// Artifact is a file that a step has left for good.
type Artifact struct {
	// Step and Path are what the worker knows it by.
	Step, Path string
	// Name is what the sink knows it by.
	Name        string
	Size        int64
	SHA256      string
	TestResults bool
}

// Transcript reads a journal from its beginning. The zero value is not ready; see New. It is used by one goroutine at a time.
type Transcript struct {
	// Lines is how many lines there were.
	Lines uint64
	// Artifacts are those that there were, in order.
	Artifacts []Artifact
	// State is final once the build has ended, and Reason says why it ended so.
	State  journal.State
	Reason string

	decode journal.Decoder
	events []journal.Event
	out    []sink.Line
	open   map[source]*part
	kept   map[string][]*Artifact // by step, until that ends
	names  map[string]bool
}

// source is where a line comes from.
type source struct {
	step, container, stream string
	attempt                 int
}

// part is the beginning of a line.
type part struct {
	parts int
	time  time.Time
	text  []byte
}

// New returns the transcript of an empty journal.
func New() *Transcript {
	return &Transcript{open: map[source]*part{}, kept: map[string][]*Artifact{}, names: map[string]bool{}}
}

// Whole reports whether no line is open: the transcript of what follows does not depend on the text of what was before.
func (t *Transcript) Whole() bool { return len(t.open) == 0 }

// Most is how many lines there can be when the next batch has been added: each entry may end one, and the end of a step those that are open.
func (t *Transcript) Most(b *journal.Batch) uint64 { return t.Lines + uint64(b.Len()+len(t.open)) }

// Add takes the next batch, and returns its lines, which are good until the next call. Of a batch without text the lines have none.
func (t *Transcript) Add(b *journal.Batch) ([]sink.Line, error) {
	t.out = t.out[:0]
	var err error
	switch e := &b.Event; {
	case e.Kind != journal.KindLog:
		t.event(e, b.First)
	case b.Text == nil && b.Len() > 0:
		t.count(b)
	default:
		err = t.text(b)
	}
	t.Lines += uint64(len(t.out))
	return t.out, err
}

// text takes lines.
func (t *Transcript) text(b *journal.Batch) (err error) {
	if t.events, err = t.decode.Append(t.events[:0], b); err != nil {
		return err
	}
	for i := range t.events {
		e := &t.events[i]
		if !e.Partial && len(t.open) == 0 {
			t.out = append(t.out, sink.Line{Time: e.Time, Text: Clean(e.Line), Step: e.Step, Entry: e.Seq})
			continue
		}
		t.piece(source{e.Step, e.Container, e.Stream, e.Attempt}, e.Time, e.Line, e.Partial, e.Seq)
	}
	return nil
}

// count takes lines without their text.
func (t *Transcript) count(b *journal.Batch) {
	seq := b.First
	for _, r := range b.Runs {
		for range r.Lines {
			t.piece(source{b.Event.Step, r.Container, r.Stream, b.Event.Attempt}, time.Time{}, nil, r.Partial, seq)
			seq++
		}
	}
}

// piece takes a line, or a part of one.
func (t *Transcript) piece(from source, at time.Time, text []byte, more bool, seq uint64) {
	p := t.open[from]
	if p == nil {
		p = &part{time: at}
	}
	p.parts++
	p.text = append(p.text, text...)
	if more && p.parts < maxParts {
		t.open[from] = p
		return
	}
	delete(t.open, from)
	t.out = append(t.out, sink.Line{Time: p.time, Text: Clean(p.text), Step: from.step, Entry: seq})
}

// flush ends the lines of a step that nothing follows, in the order of where they come from.
func (t *Transcript) flush(step string, seq uint64) {
	var of []source
	for from := range t.open {
		if from.step == step {
			of = append(of, from)
		}
	}
	slices.SortFunc(of, func(a, b source) int {
		return cmp.Or(cmp.Compare(a.attempt, b.attempt), cmp.Compare(a.container, b.container), cmp.Compare(a.stream, b.stream))
	})
	for _, from := range of {
		t.piece(from, time.Time{}, nil, false, seq)
	}
}

// event takes what is no line.
func (t *Transcript) event(e *journal.Event, seq uint64) {
	own := func(format string, args ...any) {
		t.out = append(t.out, sink.Line{Time: e.Time, Text: Clean(fmt.Appendf([]byte(Own), format, args...)), Step: e.Step, Entry: seq})
	}
	switch e.Kind {
	case journal.KindWarning:
		if e.Step != "" {
			own("step %s: %s", e.Step, e.Reason)
		} else {
			own("%s", e.Reason)
		}
	case journal.KindArtifact:
		t.keep(e)
	case journal.KindTests:
		for _, a := range t.kept[e.Step] {
			if a.Path == e.Name {
				a.TestResults = true
			}
		}
	case journal.KindStep:
		if e.State.Final() {
			t.flush(e.Step, seq)
			t.left(e.Step)
		}
	case journal.KindBuild:
		if !e.State.Final() {
			return
		}
		t.State, t.Reason = e.State, e.Reason
		if e.State == journal.Succeeded {
			return
		}
		if e.Reason == "" {
			own("the build is %s", e.State)
			return
		}
		own("the build is %s: %s", e.State, e.Reason)
	}
}

// keep notes an artifact; one that a step keeps again, in another attempt, stands for the one before.
func (t *Transcript) keep(e *journal.Event) {
	for _, a := range t.kept[e.Step] {
		if a.Path == e.Name {
			a.Size, a.SHA256, a.TestResults = e.Size, e.SHA256, false
			return
		}
	}
	t.kept[e.Step] = append(t.kept[e.Step], &Artifact{Step: e.Step, Path: e.Name, Size: e.Size, SHA256: e.SHA256})
}

// left gives the artifacts of a step that has ended their names.
func (t *Transcript) left(step string) {
	for _, a := range t.kept[step] {
		a.Name = t.name(a)
		t.Artifacts = append(t.Artifacts, *a)
	}
	delete(t.kept, step)
}

// name is a file name that no other artifact of the build has: that of the file, with the step's before it where that is taken, and a number if need be.
func (t *Transcript) name(a *Artifact) string {
	base := string(Clean([]byte(path.Base(a.Path))))
	try := base
	for n := 1; t.names[try]; n++ {
		try = strings.ReplaceAll(a.Step, "/", "-") + "-" + base
		if n > 1 {
			try = strconv.Itoa(n) + "-" + try
		}
	}
	t.names[try] = true
	return try
}

// Clean is text as a sink takes it: valid UTF-8, on one line, without NUL. It is text itself if that is so already.
func Clean(text []byte) []byte {
	if bytes.IndexByte(text, 0) >= 0 {
		text = bytes.ReplaceAll(text, []byte{0}, []byte("\uFFFD"))
	}
	if bytes.IndexByte(text, '\n') >= 0 {
		text = bytes.ReplaceAll(text, []byte{'\n'}, []byte{' '})
	}
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	return text
}
