package journal

import (
	"bytes"
	"fmt"
	"time"
)

// Batch is what one record of a journal holds: one event, or a number of log lines of one step as they are stored.
type Batch struct {
	// First is the number of the first entry.
	First uint64
	// Event is the entry, if it is no log line. For log lines Kind is [KindLog], and Step and Attempt are set.
	Event Event
	// Runs say where each line is from, in order, and Text has the lines: of each the time (RFC 3339, UTC, nine digits of
	// fraction), a space, the line, and a newline.
	Runs []Run
	Text []byte
	// Bytes is the length of Text, also where that was left out.
	Bytes int64
	// Cursor, if not empty, is the place in the runtime's log behind the last line.
	Cursor string
}

// Len returns how many entries the batch holds.
func (b *Batch) Len() int {
	if b.Event.Kind != KindLog {
		return 1
	}
	n := 0
	for _, r := range b.Runs {
		n += r.Lines
	}
	return n
}

// Last returns the number of the last entry.
func (b *Batch) Last() uint64 { return b.First + uint64(b.Len()) - 1 }

// After cuts off the entries up to the number seq; Len is 0 if there are no others, and the batch of an event is not to be used then.
func (b *Batch) After(seq uint64) error {
	if seq < b.First || b.Event.Kind != KindLog {
		return nil
	}
	skip := int(min(seq-b.First+1, uint64(b.Len())))
	b.First += uint64(skip)
	for n := skip; n > 0 && b.Text != nil; n-- {
		i := bytes.IndexByte(b.Text, '\n')
		if i < 0 {
			return b.torn()
		}
		b.Text = b.Text[i+1:]
	}
	if b.Text != nil {
		b.Bytes = int64(len(b.Text))
	}
	runs := append([]Run(nil), b.Runs...)
	for skip > 0 {
		n := min(skip, runs[0].Lines)
		skip -= n
		if runs[0].Lines -= n; runs[0].Lines == 0 {
			runs = runs[1:]
		}
	}
	b.Runs = runs
	return nil
}

// Cut cuts off the lines at the beginning that have at most so many bytes together, or the first one if that is longer, and returns them; all of b, and nothing is
// left of it, if it is no larger, or an event.
func (b *Batch) Cut(most int) (*Batch, error) {
	head := *b
	if b.Event.Kind != KindLog || len(b.Text) <= most {
		*b = Batch{}
		return &head, nil
	}
	end := bytes.LastIndexByte(b.Text[:most], '\n') + 1
	if end == 0 {
		end = bytes.IndexByte(b.Text, '\n') + 1
	}
	if end == 0 {
		return nil, b.torn()
	}
	n := bytes.Count(b.Text[:end], []byte{'\n'})
	head.Text, head.Bytes, head.Cursor = b.Text[:end:end], int64(end), ""
	head.Runs = firstRuns(b.Runs, n)
	if n == b.Len() {
		*b = Batch{}
		return &head, nil
	}
	return &head, b.After(b.First + uint64(n) - 1)
}

// firstRuns are those of the first n lines.
func firstRuns(runs []Run, n int) []Run {
	var first []Run
	for _, r := range runs {
		if n == 0 {
			break
		}
		r.Lines = min(r.Lines, n)
		n -= r.Lines
		first = append(first, r)
	}
	return first
}

func (b *Batch) torn() error {
	return fmt.Errorf("entry %d claims more lines than the log of %s has", b.First, b.Event.Step)
}

// Decoder makes events of batches. The zero value is ready; it is used by one goroutine at a time.
type Decoder struct{ time parser }

// Append appends the entries of b to events. Lines refer to b's text.
func (d *Decoder) Append(events []Event, b *Batch) ([]Event, error) {
	if b.Event.Kind != KindLog {
		e := b.Event
		e.Seq = b.First
		return append(events, e), nil
	}
	seq, text := b.First, b.Text
	for _, run := range b.Runs {
		for range run.Lines {
			i := bytes.IndexByte(text, '\n')
			if i < 0 {
				return events, b.torn()
			}
			var t time.Time
			t, line := d.time.parse(text[:i])
			text = text[i+1:]
			events = append(events, Event{Seq: seq, Time: t, Kind: KindLog, Step: b.Event.Step, Attempt: b.Event.Attempt,
				Container: run.Container, Stream: run.Stream, Partial: run.Partial, Line: line[:len(line):len(line)]})
			seq++
		}
	}
	if len(text) != 0 {
		return events, fmt.Errorf("entry %d and the log of %s do not agree", b.First, b.Event.Step)
	}
	return events, nil
}
