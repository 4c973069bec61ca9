package sinktest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

func lines() []Case {
	const (
		behind  = "Append writes lines behind the first at ones."
		wrong   = "An at that is not the number of lines is an error, of Append or of the Commit that follows, and nothing is stored."
		count   = "Lines returns how many lines the sink has of the build, when all that was written before has arrived or will not any more."
		stored  = "Commit returns nil when all lines that were appended are stored."
		text    = "Text is valid UTF-8, has no newline and no NUL, and is at most MaxLine bytes long."
		unknown = "What was appended and not committed may or may not arrive; Lines tells."
	)
	return group("lines",
		Case{ID: "in-order", Contract: behind, Run: inOrder},
		Case{ID: "times", Contract: "Time is when it was printed.", Run: times},
		Case{ID: "wrong-at", Contract: wrong, Run: wrongAt},
		Case{ID: "wrong-at-first", Contract: wrong, Run: wrongAtFirst},
		Case{ID: "after-error", Contract: "After an error, only Lines tells what has arrived; from there it goes on.", Run: afterError},
		Case{ID: "counted", Contract: count, Run: counted},
		Case{ID: "counted-by-another", Contract: count, Run: countedByAnother},
		Case{ID: "find", Contract: "Find says how many lines there are from the last one on that begins with a prefix, that included; 0 if none does.", Run: find},
		Case{ID: "committed", Contract: stored, Run: committed},
		Case{ID: "commit-nothing", Contract: stored, Run: commitNothing},
		Case{ID: "taken-over", Contract: unknown, Run: takenOver},
		Case{ID: "counted-anew", Contract: count, Run: countedAnew},
		Case{ID: "slice-used-again", Contract: "They are under way when it returns, and the slice and what it holds may be used again.", Run: sliceUsedAgain},
		Case{ID: "empty", Contract: text, Run: emptyLines},
		Case{ID: "long", Contract: text, Run: longLines},
		Case{ID: "utf-8", Contract: text, Run: everyText},
		Case{ID: "many", Contract: stored, Run: manyLines},
	)
}

// some makes n lines that tell their numbers, from the first on.
func some(first, n int) []sink.Line {
	all := make([]sink.Line, n)
	for i := range all {
		k := first + i
		all[i] = sink.Line{Time: epoch.Add(time.Duration(k) * 1234567 * time.Nanosecond), Text: fmt.Appendf(nil, "line %d of the log of a build", k), Step: "stage/step", Entry: uint64(k) + 10}
	}
	return all
}

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// textLines makes lines of texts.
func textLines(texts ...string) []sink.Line {
	all := some(0, len(texts))
	for i, t := range texts {
		all[i].Text = []byte(t)
	}
	return all
}

// append appends and commits, and ends the case if that fails.
func (e *Env) append(r sink.Report, at int, all []sink.Line) {
	e.must("Append", r.Append(e.ctx, uint64(at), all))
	e.must("Commit", r.Commit(e.ctx))
}

// lines asks a report. It ends the case if that cannot tell.
func (e *Env) lines(r sink.Report) int {
	n, err := r.Lines(e.ctx)
	e.must("Lines", err)
	return int(n)
}

// counts wants a number of lines.
func (e *Env) counts(r sink.Report, want int) {
	if n := e.lines(r); n != want {
		e.Errorf("Lines: %d; want %d", n, want)
	}
}

// stores wants the lines of a build to be these.
func (e *Env) stores(id uint64, want []sink.Line) {
	got := e.read(id).Lines
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i].Text, want[i].Text) {
			e.Errorf("line %d of %d is %s; want %s", i, len(got), short(got[i].Text), short(want[i].Text))
			return
		}
		p := e.suite.cfg.Precision
		if d := want[i].Time.Sub(got[i].Time); d < 0 || d >= p {
			e.Errorf("line %d is of %s; want %s", i, got[i].Time, want[i].Time)
			return
		}
	}
	if len(got) != len(want) {
		e.Errorf("%d lines are stored; want %d", len(got), len(want))
	}
}

// short quotes a text, or its beginning.
func short(text []byte) string {
	if len(text) > 80 {
		return fmt.Sprintf("%q… (%d bytes)", text[:80], len(text))
	}
	return fmt.Sprintf("%q", text)
}

func inOrder(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.counts(r, 0)
	all := some(0, 300)
	for at, step := 0, 1; at < len(all); step += 2 {
		n := min(step, len(all)-at)
		e.must("Append", r.Append(e.ctx, uint64(at), all[at:at+n]))
		if at += n; step%3 == 0 {
			e.must("Commit", r.Commit(e.ctx))
		}
	}
	e.must("Commit", r.Commit(e.ctx))
	e.stores(id, all)
}

func times(e *Env) {
	id := e.build()
	all := some(0, 6)
	for i, t := range []time.Time{
		time.Date(2026, 1, 2, 3, 4, 5, 999999999, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), // the second is the earlier one
		time.Unix(1, 1), time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
	} {
		all[i].Time = t
	}
	r := e.open(id, true)
	e.counts(r, 0)
	e.append(r, 0, all)
	e.stores(id, all)
}

func wrongAt(e *Env) {
	for _, at := range []int{0, 2, 4, 1000} {
		id := e.build()
		r := e.open(id, true)
		e.counts(r, 0)
		all := some(0, 3)
		e.append(r, 0, all)
		err := r.Append(e.ctx, uint64(at), some(at, 2))
		if err == nil {
			err = r.Commit(e.ctx)
		}
		e.fails(fmt.Sprintf("Append behind %d lines, where there are 3,", at), err)
		e.counts(r, 3)
		e.stores(id, all)
	}
}

func wrongAtFirst(e *Env) {
	for _, at := range []int{0, 2, 9} {
		id := e.build()
		e.append(e.open(id, true), 0, some(0, 3))
		r := e.open(id, true)
		err := r.Append(e.ctx, uint64(at), some(at, 2))
		if err == nil {
			err = r.Commit(e.ctx)
		}
		e.fails(fmt.Sprintf("the first Append, behind %d lines, where there are 3,", at), err)
		e.stores(id, some(0, 3))
	}
}

func afterError(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.counts(r, 0)
	all := some(0, 10)
	e.must("Append", r.Append(e.ctx, 0, all[:4]))
	err := r.Append(e.ctx, 7, all[7:])
	if err == nil {
		err = r.Commit(e.ctx)
	}
	e.fails("Append behind 7 lines, where there are 4 at most,", err)
	n := e.lines(r)
	if n > 4 {
		e.Fatalf("Lines: %d; want 4 at most", n)
	}
	e.append(r, n, all[n:])
	e.stores(id, all)
}

func counted(e *Env) {
	id := e.build()
	r := e.open(id, true)
	for n := range 5 {
		e.counts(r, n*10)
		e.append(r, n*10, some(n*10, 10))
	}
	e.counts(r, 50)
	e.counts(r, 50)
}

func countedByAnother(e *Env) {
	id := e.build()
	e.append(e.open(id, true), 0, some(0, 7))
	e.counts(e.open(id, true), 7)
	e.counts(e.open(id, false), 7)
	e.counts(e.openAnother(id, false), 7)
}

func find(e *Env) {
	id := e.build()
	r := e.open(id, true)
	finds := func(r sink.Report, prefix string, lines, since uint64) {
		n, at, err := r.Find(e.ctx, prefix)
		e.must("Find", err)
		if n != lines || at != since {
			e.Errorf("Find(%q) = %d, %d; want %d, %d", prefix, n, at, lines, since)
		}
	}
	finds(r, "mark", 0, 0)
	e.append(r, 0, textLines("mark: one", "two", "not a mark: three", "mark: four", "five", "six"))
	for _, r := range []sink.Report{r, e.open(id, false)} {
		finds(r, "mark", 6, 3)
		finds(r, "mark: one", 6, 6)
		finds(r, "six", 6, 1)
		finds(r, "seven", 6, 0)
	}
	e.append(r, 6, some(6, 5000))
	finds(r, "mark", 5006, 5003)
}

func committed(e *Env) {
	id := e.build()
	r := e.open(id, true)
	for n := range 20 {
		e.append(r, n, some(n, 1))
		e.stores(id, some(0, n+1))
	}
}

func commitNothing(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.must("Commit of nothing", r.Commit(e.ctx))
	e.append(r, 0, some(0, 2))
	e.must("Commit once more", r.Commit(e.ctx))
	e.must("Append of nothing", r.Append(e.ctx, 2, nil))
	e.must("Commit of no lines", r.Commit(e.ctx))
	e.append(r, 2, some(2, 2))
	e.stores(id, some(0, 4))
}

// takenOver has one after the other write a part and go away, some without a Commit.
func takenOver(e *Env) {
	id := e.build()
	all := some(0, 240)
	for round, at := 0, 0; at < len(all); round++ {
		r := e.open(id, round == 0)
		n := e.lines(r)
		if n < at {
			e.Fatalf("Lines: %d, and %d were committed", n, at)
		}
		more := min(n+40, len(all))
		e.must("Append", r.Append(e.ctx, uint64(n), all[n:more]))
		if round%2 == 1 {
			e.must("Commit", r.Commit(e.ctx))
			at = more
		}
		e.must("Close", r.Close())
	}
	e.stores(id, all)
}

// countedAnew asks for the lines in the midst of writing.
func countedAnew(e *Env) {
	id := e.build()
	r := e.open(id, true)
	e.counts(r, 0)
	all := some(0, 60)
	e.must("Append", r.Append(e.ctx, 0, all[:30]))
	n := e.lines(r)
	if n > 30 {
		e.Fatalf("Lines: %d; want 30 at most", n)
	}
	e.append(r, n, all[n:])
	e.counts(r, 60)
	e.stores(id, all)
}
