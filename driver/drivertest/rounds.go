package drivertest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// The environment of [RunFaultRounds]: how many rounds it does, 1 if it is not set, and the seed of the first, for what a failure told.
const (
	faultsEnv = "WHARF_TEST_FAULTS"
	seedEnv   = "WHARF_TEST_SEED"
)

// RunFaultRounds does [RunFaults] as often as the variable WHARF_TEST_FAULTS says, or once, each time with another seed and a harness of its
// own. The seeds are random, or count from WHARF_TEST_SEED.
func RunFaultRounds(t *testing.T, harness func(*testing.T) Harness) {
	rounds, seed := 1, rand.Uint64()
	if text := os.Getenv(faultsEnv); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", faultsEnv, err)
		}
	}
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedEnv, err)
		}
	}
	for i := range rounds {
		t.Run(fmt.Sprint("round-", i+1), func(t *testing.T) { RunFaults(t, harness(t), seed+uint64(i)) })
	}
}
