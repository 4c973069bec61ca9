package conformance

import (
	"encoding/json"
	"io"
	"time"

	"github.com/wharfci/wharf/driver/drivertest"
)

// record is a line of JSON; docs/json-events.md documents it.
type record struct {
	Kind        string   `json:"kind"`
	Time        string   `json:"time,omitempty"`
	Driver      string   `json:"driver,omitempty"`
	Runtime     string   `json:"runtime,omitempty"`
	ID          string   `json:"id,omitempty"`
	Group       string   `json:"group,omitempty"`
	Contract    string   `json:"contract,omitempty"`
	State       string   `json:"state,omitempty"`
	Seconds     float64  `json:"seconds,omitempty"`
	Failures    []string `json:"failures,omitempty"`
	Notes       []string `json:"notes,omitempty"`
	Cases       *int     `json:"cases,omitempty"`
	Passed      *int     `json:"passed,omitempty"`
	Failed      *int     `json:"failed,omitempty"`
	Interrupted bool     `json:"interrupted,omitempty"`
}

type jsonPrinter struct {
	enc *json.Encoder
	err error
}

// NewJSON returns a Printer of JSON, one object a line, whose first line it prints.
func NewJSON(w io.Writer, run Run) Printer {
	p := &jsonPrinter{enc: json.NewEncoder(w)}
	p.enc.SetEscapeHTML(false)
	n := len(run.Cases)
	p.print(record{Kind: "start", Time: stamp(run.Began), Driver: run.Driver, Runtime: run.Runtime, Cases: &n})
	return p
}

// ListJSON prints cases as JSON, one object a line.
func ListJSON(w io.Writer, cases []drivertest.Case) error {
	p := &jsonPrinter{enc: json.NewEncoder(w)}
	p.enc.SetEscapeHTML(false)
	for _, c := range cases {
		p.print(record{Kind: "case", ID: c.ID, Group: c.Group, Contract: c.Contract})
	}
	return p.err
}

func (p *jsonPrinter) Begin(c drivertest.Case) {
	p.print(record{Kind: "case", Time: stamp(time.Now()), ID: c.ID, Group: c.Group, Contract: c.Contract, State: "running"})
}

func (p *jsonPrinter) Observe(r drivertest.Report) {
	state := "passed"
	if !r.Passed() {
		state = "failed"
	}
	p.print(record{Kind: "case", Time: stamp(time.Now()), ID: r.ID, Group: r.Group, Contract: r.Contract, State: state,
		Seconds: r.Took.Seconds(), Failures: r.Failures, Notes: r.Notes})
}

func (p *jsonPrinter) End(reports []drivertest.Report, interrupted bool) error {
	bad := failed(reports)
	good := len(reports) - bad
	p.print(record{Kind: "end", Time: stamp(time.Now()), Passed: &good, Failed: &bad, Interrupted: interrupted})
	return p.err
}

func (p *jsonPrinter) print(r record) {
	if p.err == nil {
		p.err = p.enc.Encode(r)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
