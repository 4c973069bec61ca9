// Package jsonout writes a build's events as JSON, one object a line. Its form is documented in docs/json-events.md and does
// not change; fields may be added.
package jsonout

import (
	"encoding/json"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
)

// Printer turns events into lines. Only one goroutine may use it at a time.
type Printer struct {
	w     io.Writer
	names map[string]string // of steps, by ID
	buf   []byte
}

// New returns a Printer to w of the plan's build.
func New(w io.Writer, plan *pipeline.Plan) *Printer {
	p := &Printer{w: w, names: map[string]string{}}
	for _, stage := range plan.Stages {
		for _, s := range stage.Steps {
			p.names[s.ID] = s.Name
		}
	}
	return p
}

// Start is the first line: what is going to run, and where.
type Start struct {
	// ID is the build's, Driver the name or URL and Runtime the name and version of what it runs on, Results the directory of its
	// journal, logs and artifacts.
	ID      string
	Driver  string
	Runtime string
	Results string
	Time    time.Time
}

// Start writes the first line.
func (p *Printer) Start(s Start) {
	p.buf = p.buf[:0]
	p.object(record{Time: stamp(s.Time), Kind: "start", ID: s.ID, Driver: s.Driver, Runtime: s.Runtime, Results: s.Results})
	p.w.Write(p.buf)
}

// Observe writes the events.
func (p *Printer) Observe(events []worker.Event) {
	p.buf = p.buf[:0]
	for i := range events {
		if e := &events[i]; e.Kind == worker.KindLog {
			p.log(e)
		} else {
			p.object(p.record(e))
		}
		if len(p.buf) > 64<<10 {
			p.w.Write(p.buf)
			p.buf = p.buf[:0]
		}
	}
	if len(p.buf) > 0 {
		p.w.Write(p.buf) // the writer is told to remember its own errors
	}
}

// record has the fields of every line but those of logs, in the order in which they are written.
type record struct {
	Seq     uint64  `json:"seq,omitempty"`
	Time    string  `json:"time"`
	Kind    string  `json:"kind"`
	ID      string  `json:"id,omitempty"`
	Driver  string  `json:"driver,omitempty"`
	Runtime string  `json:"runtime,omitempty"`
	Results string  `json:"results,omitempty"`
	Stage   string  `json:"stage,omitempty"`
	Step    string  `json:"step,omitempty"`
	State   string  `json:"state,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Attempt int     `json:"attempt,omitempty"`
	Result  *result `json:"result,omitempty"`
	Image   string  `json:"image,omitempty"`
	Done    *int64  `json:"done,omitempty"`
	Total   *int64  `json:"total,omitempty"`
	Status  string  `json:"status,omitempty"`
	Name    string  `json:"name,omitempty"`
	Size    *int64  `json:"size,omitempty"`
	SHA256  string  `json:"sha256,omitempty"`
	Phases  []phase `json:"phases,omitempty"`
	Tests   *tests  `json:"tests,omitempty"`
}

// phase is a part of a step's time.
type phase struct {
	Name  string `json:"name"`
	Began string `json:"began"`
	Ended string `json:"ended"`
}

// tests is the summary of a file of test results.
type tests struct {
	Total    int      `json:"total"`
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Skipped  int      `json:"skipped"`
	Seconds  float64  `json:"seconds"`
	Failures []string `json:"failures,omitempty"`
}

// result is how a step's container ended.
type result struct {
	Outcome   string `json:"outcome"`
	Code      *int   `json:"code,omitempty"`
	Signal    int    `json:"signal,omitempty"`
	Container string `json:"container,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Started   string `json:"started,omitempty"`
	Ended     string `json:"ended,omitempty"`
}

func (p *Printer) record(e *worker.Event) record {
	r := record{
		Seq: e.Seq, Time: stamp(e.Time), Kind: string(e.Kind), Stage: e.Stage, Step: e.Step, State: string(e.State), Reason: e.Reason,
		Attempt: e.Attempt, Result: newResult(e.Result), Image: e.Image, Status: e.Status, Name: e.Name, SHA256: e.SHA256,
	}
	switch e.Kind {
	case worker.KindStep:
		r.Name = p.names[e.Step]
	case worker.KindPull:
		r.Done, r.Total = &e.Done, &e.Total
	case worker.KindArtifact:
		r.Size = &e.Size
	case worker.KindTests:
		t := e.Tests
		if t == nil {
			break
		}
		r.Tests = &tests{t.Total, t.Passed, t.Failed, t.Skipped, t.Took.Seconds(), t.Failures}
	}
	for _, ph := range e.Phases {
		r.Phases = append(r.Phases, phase{ph.Name, stamp(ph.Began), stamp(ph.Ended)})
	}
	return r
}

func newResult(d *driver.Result) *result {
	if d == nil {
		return nil
	}
	r := &result{Outcome: d.Outcome.String(), Signal: d.Signal, Container: d.Container, Reason: d.Reason, Started: stamp(d.Started), Ended: stamp(d.Ended)}
	switch d.Outcome {
	case driver.Exited, driver.OutOfMemory, driver.InitFailed, driver.ServiceFailed:
		r.Code = &d.Code
	}
	return r
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (p *Printer) object(r record) {
	line, err := json.Marshal(r)
	if err != nil { // cannot be: a record holds strings and numbers only
		return
	}
	p.buf = append(append(p.buf, line...), '\n')
}

// log writes the line of a log event. There may be millions, so it does by hand what json.Marshal would do.
func (p *Printer) log(e *worker.Event) {
	b := append(p.buf, '{')
	if e.Seq != 0 {
		b = append(strconv.AppendUint(append(b, `"seq":`...), e.Seq, 10), ',')
	}
	b = append(b, `"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","kind":"log"`...)
	b = appendField(b, "stage", e.Stage)
	b = appendField(b, "step", e.Step)
	b = appendField(b, "container", e.Container)
	b = appendField(b, "stream", e.Stream)
	if utf8.Valid(e.Line) {
		b = appendString(append(b, `,"line":`...), e.Line)
	} else {
		raw, _ := json.Marshal(e.Line) // base64; of bytes it cannot fail
		b = append(append(b, `,"lineBase64":`...), raw...)
	}
	if e.Partial {
		b = append(b, `,"partial":true`...)
	}
	p.buf = append(b, "}\n"...)
}

func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendString(b, value)
}

func appendString[T []byte | string](b []byte, s T) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(string(s)) // of a string it cannot fail
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
