package drivertest

import (
	"fmt"
	"strings"
	"time"
)

// Report is how a case went.
type Report struct {
	// ID, Group and Contract are those of the case.
	ID, Group, Contract string
	// Failures say what is wrong, in order; none if the driver keeps the rule.
	Failures []string
	// Notes are what the case has to tell besides, such as a time that it measured.
	Notes []string
	// Took is the time from the case's begin to its end.
	Took time.Duration
}

// Passed reports whether the driver keeps the rule.
func (r Report) Passed() bool { return len(r.Failures) == 0 }

// String is one line for a case that passed; the contract's sentence and every failure for one that did not.
func (r Report) String() string {
	if r.Passed() {
		return fmt.Sprintf("ok    %s (%s)", r.ID, r.Took.Round(time.Millisecond))
	}
	return fmt.Sprintf("FAIL  %s (%s)\n  contract: %s\n  - %s", r.ID, r.Took.Round(time.Millisecond),
		r.Contract, strings.Join(r.Failures, "\n  - "))
}
