package main

import (
	"fmt"
	"os"
	"path/filepath"
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
		{"a slow test and what it consists of", pass + `{"Action":"pass","Package":"p","Test":"TestB/c","Elapsed":61}` + "\n" +
			`{"Action":"pass","Package":"p","Test":"TestB","Elapsed":61}`, true, "slow    61.0 s  p TestB/c\n3 tests"},
		{"words of go itself", "go: no such tool\n" + pass, true, "no such tool"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			var r reporter
			err := r.read(strings.NewReader(tc.in), &out)
			ok := r.summary(&out)
			if err != nil || ok != tc.ok || !strings.Contains(out.String(), tc.shows) {
				t.Errorf("ok = %v, err = %v, want %v; output lacks %q:\n%s", ok, err, tc.ok, tc.shows, out.String())
			}
		})
	}
}

// TestRunAgain runs real tests, which fail the first time, or always.
func TestRunAgain(t *testing.T) {
	const source = `package p
import ("os"; "testing")
func once(t *testing.T, name string) {
	if _, err := os.Stat(name); err == nil { return }
	os.WriteFile(name, nil, 0o600)
	t.Fatal("the first time it fails")
}
func TestGood(t *testing.T) {
	if _, err := os.Stat("good"); err == nil { t.Fatal("it was run again without need") }
	os.WriteFile("good", nil, 0o600)
}
`
	for _, tc := range []struct {
		name, tests string
		ok          bool
		shows       []string
	}{
		{"a subtest passes the second time", `func TestA(t *testing.T) { t.Run("b|c (d)", func(t *testing.T) { once(t, "b") }); t.Run("e", func(*testing.T) {}) }`,
			true, []string{"the first time it fails", "FLAKY    p TestA/b|c_(d)", "4 tests, 0 failed"}},
		{"two tests, one of which fails again", `func TestA(t *testing.T) { once(t, "a") }` + "\n" + `func TestB(t *testing.T) { t.Error("always") }`,
			false, []string{"FAILED   p TestB"}},
		{"a panic", `func TestA(t *testing.T) { if _, err := os.Stat("x"); err != nil { os.WriteFile("x", nil, 0o600); os.Remove("good"); panic("once") } }`,
			true, []string{"panic: once", "FLAKY    p "}},
		{"what does not compile", `func TestA(t *testing.T) { wrong }`, false, []string{"undefined: wrong", "FAILED   p"}},
		{"too many", `func TestA(t *testing.T) { for i := range 9 { t.Run("", func(t *testing.T) { once(t, string(rune('a'+i))) }) } }`,
			false, []string{"FAILED   p TestA/#08"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"go.mod": "module p\n\ngo 1.24\n", "p_test.go": source + tc.tests} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			var out strings.Builder
			ok, err := run([]string{"-count=1", "-vet=off"}, []string{"./..."}, &out)
			if err != nil || ok != tc.ok {
				t.Errorf("ok = %v, err = %v, want %v", ok, err, tc.ok)
			}
			for _, want := range tc.shows {
				if !strings.Contains(out.String(), want) {
					t.Error("the output lacks", fmt.Sprintf("%q", want))
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}
