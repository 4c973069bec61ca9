package drivertest

import (
	"slices"
	"time"
)

// Case is one rule of the contract, as code.
type Case struct {
	// ID is stable: the group, a slash, and what is checked, such as "results/exit-code-0".
	ID string
	// Group is the first part of ID.
	Group string
	// Contract is the sentence of the contract that the case checks.
	Contract string
	// Timeout bounds the case; 0 is five minutes. See also [Harness].Slow.
	Timeout time.Duration
	// Run does the work.
	Run func(*Env)
}

// Cases returns the cases of the suite, in order. The checks that follow the last case (ids "after/…") are not
// among them.
func Cases() []Case {
	all := slices.Concat(results(), logs(), lifecycle(), files(), volumes(), fidelity(), services(), network(), pulls(), limits(), load(), abilities())
	for i := range all {
		all[i].ID = all[i].Group + "/" + all[i].ID
	}
	return all
}

// group sets the group of its cases; ids are completed by Cases.
func group(name string, cases ...Case) []Case {
	for i := range cases {
		cases[i].Group = name
	}
	return cases
}
