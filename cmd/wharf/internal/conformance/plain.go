package conformance

import (
	"fmt"
	"io"
	"strings"

	"github.com/wharfci/wharf/driver/drivertest"
)

// plain prints a line for each case as it ends, and more for one that failed.
type plain struct {
	run Run
	w   io.Writer
	err error
}

// NewPlain returns a Printer of lines.
func NewPlain(w io.Writer, run Run) Printer { return &plain{run: run, w: w} }

func (p *plain) Begin(drivertest.Case) {}

func (p *plain) Observe(r drivertest.Report) {
	if !r.Passed() {
		p.print(failedLines(r)...)
		return
	}
	p.print(passedLine(r))
	for _, note := range r.Notes {
		p.print("      " + note)
	}
}

func (p *plain) End(reports []drivertest.Report, interrupted bool) error {
	p.print(p.run.summary(reports, interrupted)...)
	return p.err
}

func (p *plain) print(lines ...string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.Join(lines, "\n"))
	}
}
