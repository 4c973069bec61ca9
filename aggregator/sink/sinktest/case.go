package sinktest

import (
	"fmt"
	"slices"
	"strings"
)

// Case is one rule of the contract, as code.
type Case struct {
	// ID is stable: the group, a slash, and what is checked, such as "lines/in-order".
	ID string
	// Contract is the sentence of the contract that the case checks.
	Contract string
	// Alone says that no other case may run beside it.
	Alone bool
	// Run does the work.
	Run func(*Env)
}

// Cases returns the cases of the suite, in order.
func Cases() []Case { return slices.Concat(lines(), fences(), states(), artifacts(), sinks()) }

// group completes the ids of cases.
func group(name string, cases ...Case) []Case {
	for i := range cases {
		cases[i].ID = name + "/" + cases[i].ID
	}
	return cases
}

// Report is how a case went.
type Report struct {
	// ID and Contract are those of the case.
	ID, Contract string
	// Failures say what is wrong, in order; none if the sink keeps the rule.
	Failures []string
}

// Passed reports whether the sink keeps the rule.
func (r Report) Passed() bool { return len(r.Failures) == 0 }

// String is one line for a case that passed; the contract's sentence and every failure for one that did not.
func (r Report) String() string {
	if r.Passed() {
		return "ok    " + r.ID
	}
	return fmt.Sprintf("FAIL  %s\n  contract: %s\n  - %s", r.ID, r.Contract, strings.Join(r.Failures, "\n  - "))
}
