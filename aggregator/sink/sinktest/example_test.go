package sinktest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink/sinktest"
)

// A test of a sink gives the suite the sink, and what it needs to look behind it.
func ExampleRun() {
	inMemory := newStore("")
	// In a file such as conformance_test.go, under the name TestConformance:
	_ = func(t *testing.T) {
		sinktest.Run(t, sinktest.Config{
			Open: inMemory.config().Open,
			Add:  inMemory.config().Add,
			Read: inMemory.config().Read,
		})
	}
}

func ExampleCases() {
	groups := map[string]bool{}
	for _, c := range sinktest.Cases() {
		group, _, _ := strings.Cut(c.ID, "/")
		if !groups[group] {
			fmt.Println(group)
		}
		groups[group] = true
	}
	// Output:
	// lines
	// fences
	// states
	// artifacts
	// sink
}
