// Package conformance shows the conformance suite of package drivertest to a person or a program, and is the test program that
// the suite runs in containers, so that wharf needs no compiler to run it.
package conformance

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/driver/drivertest"
)

// Run is what a run of the suite is about.
type Run struct {
	// Driver is the name or URL, Runtime what answers there.
	Driver, Runtime string
	// Cases are those that run; the checks after them are not counted.
	Cases []drivertest.Case
	// Began is when.
	Began time.Time
}

// Printer shows a run. Begin and Observe are called as it goes, by one goroutine at a time; End is called once, after them.
type Printer interface {
	Begin(drivertest.Case)
	Observe(drivertest.Report)
	// End gets all reports in order, and whether the run was interrupted before its end. The error is the first one of the output.
	End(reports []drivertest.Report, interrupted bool) error
}

// List prints cases, for a person.
func List(w io.Writer, cases []drivertest.Case) error {
	for _, c := range cases {
		if _, err := fmt.Fprintf(w, "%s\n    %s\n", c.ID, c.Contract); err != nil {
			return err
		}
	}
	return nil
}

// failed counts the reports of rules that do not hold.
func failed(reports []drivertest.Report) (n int) {
	for _, r := range reports {
		if !r.Passed() {
			n++
		}
	}
	return n
}

// passedLine is the line of a case that passed.
func passedLine(r drivertest.Report) string {
	return fmt.Sprintf("ok    %s (%s)", r.ID, text.Duration(r.Took))
}

// failedLines tell of a case that failed: the sentence of the contract first, which says what should be.
func failedLines(r drivertest.Report) []string {
	lines := []string{fmt.Sprintf("FAIL  %s (%s)", r.ID, text.Duration(r.Took)), "      contract: " + r.Contract}
	for _, f := range r.Failures {
		for i, line := range strings.Split(strings.TrimRight(f, "\n"), "\n") {
			indent := "      - "
			if i > 0 {
				indent = "        "
			}
			lines = append(lines, indent+text.Clean(line))
		}
	}
	return lines
}

// summary are the last lines: what failed, by name, and the counts.
func (r Run) summary(reports []drivertest.Report, interrupted bool) []string {
	n := failed(reports)
	var lines []string
	if n > 0 {
		lines = append(lines, "What does not hold:")
		for _, rep := range reports {
			if !rep.Passed() {
				lines = append(lines, "  "+rep.ID)
			}
		}
	}
	word := "passed"
	switch {
	case interrupted:
		word = "interrupted"
	case n > 0:
		word = "failed"
	}
	return append(lines, fmt.Sprintf("%s: %d of %d rules hold on %s, %d do not; %s",
		word, len(reports)-n, max(len(r.Cases), len(reports)), r.Runtime, n, text.Duration(time.Since(r.Began))))
}
