package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const pass = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"p"}` + "\n"
	for _, tc := range []struct {
		name, in string
		ok       bool
		shows    string
	}{
		{"all pass", pass, true, "1 tests, 0 failed, 0 skipped"},
		{"a package without tests", pass + `{"Action":"skip","Package":"q"}`, true, "1 tests"},
		{"nothing ran", "", false, "no test ran"},
		{"a skip", pass + `{"Action":"output","Package":"p","Test":"TestB","Output":"no docker\n"}` + "\n" +
			`{"Action":"skip","Package":"p","Test":"TestB"}`, false, "no docker"},
		{"a failure", pass + `{"Action":"output","Package":"p","Test":"TestB","Output":"want 1\n"}` + "\n" +
			`{"Action":"fail","Package":"p","Test":"TestB"}`, false, "want 1"},
		{"a failed build", pass + `{"Action":"build-output","ImportPath":"q","Output":"undefined: x\n"}` + "\n" +
			`{"Action":"fail","Package":"q","FailedBuild":"q"}`, false, "undefined: x"},
		{"words of go itself", "go: no such tool\n" + pass, true, "no such tool"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := report(strings.NewReader(tc.in), &out)
			if err != nil || ok != tc.ok || !strings.Contains(out.String(), tc.shows) {
				t.Errorf("ok = %v, err = %v, want %v; output lacks %q:\n%s", ok, err, tc.ok, tc.shows, out.String())
			}
		})
	}
}
