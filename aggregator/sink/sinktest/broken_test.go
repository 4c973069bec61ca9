package sinktest_test

import (
	"strings"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink/sinktest"
)

// bugs has, for each case, the bugs that it has to find. One that is marked is of a store that makes builds, and keeps final states.
var bugs = map[string][]string{
	"lines/in-order":           {"reorders", "loses a line", "doubles"},
	"lines/times":              {"rounds"},
	"lines/wrong-at":           {"trusts anybody", "stores what it refuses"},
	"lines/wrong-at-first":     {"trusts the first"},
	"lines/after-error":        {"stores what it refuses"},
	"lines/counted":            {"counts one less"},
	"lines/counted-by-another": {"counts its own"},
	"lines/find":               {"finds the first"},
	"lines/committed":          {"stores late"},
	"lines/commit-nothing":     {"wants lines"},
	"lines/taken-over":         {"doubles at the end", "counts one less", "counts its own"},
	"lines/counted-anew":       {"sends old lines"},
	"lines/slice-used-again":   {"keeps slices"},
	"lines/empty":              {"skips empty lines"},
	"lines/long":               {"cuts lines"},
	"lines/utf-8":              {"trims"},
	"lines/many":               {"is full"},

	"fences/over-lines":           {"ignores the fence of lines, and more"},
	"fences/over-status":          {"ignores the fence of status"},
	"fences/over-artifact":        {"ignores the fence of artifact"},
	"fences/over-before-commit":   {"ignores the fence of commit"},
	"fences/over-after-use":       {"the fence was open"},
	"fences/over-within-artifact": {"asks the fence of artifact once"},
	"fences/past":                 {"the fence is zero or not"},
	"fences/renewed":              {"asks the fence once"},

	"states/scheduling":     {"runs at once"},
	"states/completed":      {"all fail"},
	"states/failed":         {"none fails"},
	"states/failed-at-once": {"has to run first"},
	"states/twice":          {"once"},
	"states/final-twice":    {"ends once"},
	"states/never-back":     {"goes back", "keeps: goes back for another"},
	"states/final-stays":    {"overwrites", "keeps: overwrites for another"},

	"artifacts/content":          {"tears"},
	"artifacts/empty":            {"no empty files"},
	"artifacts/large":            {"a small store"},
	"artifacts/in-bits":          {"reads once"},
	"artifacts/twice":            {"puts again"},
	"artifacts/twice-by-another": {"knows its own files"},
	"artifacts/names":            {"escapes names"},
	"artifacts/failing-source":   {"stores torn files"},
	"artifacts/failing-open":     {"opens nothing"},
	"artifacts/short-source":     {"any size"},
	"artifacts/long-source":      {"any size", "cuts files"},
	"artifacts/closed":           {"leaks"},
	"artifacts/test-results":     {"results are no files"},
	"artifacts/beside-lines":     {"says so in the log"},

	"sink/unknown-build":     {"unknown is unavailable", "keeps: knows what it was told"},
	"sink/active":            {"lists ended ones"},
	"sink/two-builds":        {"mixes"},
	"sink/open-asks-nothing": {"asks"},
	"sink/cancelled":         {"deaf"},
	"sink/stalled":           {"deaf"},
	"sink/ready":             {"never ready"},
	"sink/close":             {"forgets"},
}

// TestCasesCatch runs each case on sinks that violate its rule. A case that lets that pass proves nothing.
func TestCasesCatch(t *testing.T) {
	cases := map[string]bool{}
	for _, c := range sinktest.Cases() {
		cases[c.ID] = true
		if len(bugs[c.ID]) == 0 {
			t.Errorf("there is no broken sink for %s", c.ID)
		}
		for _, bug := range bugs[c.ID] {
			t.Run(c.ID+"/"+bug, func(t *testing.T) {
				t.Parallel()
				name, keeps := strings.CutPrefix(bug, "keeps: ")
				s := newStore(name)
				s.makes, s.keeps = keeps, keeps
				cfg := s.config()
				cfg.Slow = 0.1
				report, err := sinktest.RunOne(t.Context(), cfg, c)
				if err != nil {
					t.Fatal(err)
				}
				if report.Passed() {
					t.Error("the case passes on a sink that violates: " + c.Contract)
				}
				if text := report.String(); !report.Passed() && !strings.Contains(text, c.Contract) {
					t.Errorf("the report does not print the contract:\n%s", text)
				}
				t.Log(report)
			})
		}
	}
	for id := range bugs {
		if !cases[id] {
			t.Errorf("there is a broken sink for %s, which is no case", id)
		}
	}
}

// A sink without bugs passes.
func TestGood(t *testing.T) {
	sinktest.Run(t, newStore("").config())
}

// So does one that makes builds, and keeps final states.
func TestGoodAndStrict(t *testing.T) {
	s := newStore("")
	s.makes, s.keeps = true, true
	sinktest.Run(t, s.config())
}

// A configuration that lacks something is refused, and does not panic.
func TestIncomplete(t *testing.T) {
	if _, err := sinktest.RunOne(t.Context(), sinktest.Config{}, sinktest.Cases()[0]); err == nil {
		t.Error("an empty configuration is taken")
	}
}
