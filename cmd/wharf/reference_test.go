package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/worker"
)

// example is an example of the language's reference.
type example struct {
	heading string // under which it stands
	words   []string
	text    string
}

// runnable returns the examples of the reference that run as they stand.
func runnable(t *testing.T) (examples []example) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/wharf-ci-yml.md")
	if err != nil {
		t.Fatal(err)
	}
	var heading string
	var open *example
	for line := range strings.Lines(string(doc)) {
		fence, fenced := strings.CutPrefix(line, "```")
		switch {
		case fenced && open == nil:
			open = &example{heading: heading, words: strings.Fields(fence)}
		case fenced:
			if open.runs() {
				examples = append(examples, *open)
			}
			open = nil
		case open != nil:
			open.text += line
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return examples
}

func (e *example) runs() bool {
	return slices.Contains(e.words, "yaml") && !slices.ContainsFunc(e.words, func(word string) bool {
		return word == "plan-only" || word == "wrong" || word == "vars"
	})
}

// flags returns what the words of an example ask for: environment=…, input.NAME=…, var.NAME=….
func (e *example) flags(t *testing.T) (flags []string) {
	t.Helper()
	for _, word := range e.words[1:] {
		key, value, _ := strings.Cut(word, "=")
		kind, name, _ := strings.Cut(key, ".")
		switch kind {
		case "environment":
			flags = append(flags, "--environment", value)
		case "input", "var":
			flags = append(flags, "--"+kind, name+"="+value)
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return flags
}

// promised says what the examples print, by their headings: what the reference says of them in words.
var promised = map[string][]string{
	"A first example": {"build/hello | Hello from Linux", "build/hello | src.txt"},
	"Stages and steps": {"test/unit | testing", "test/style | looking for trailing spaces", "report/summary | done",
		"alarm | -- skipped: no earlier stage failed"},
	"Environments": {"deploy/show | 1 replicas in shop-stage, debug is true",
		`announce | -- skipped: the build's environment is "stage", and the stage runs only in "prod"`},
	"Inputs": {"build/show | Hello, this is 1.2.3 in small with 2 workers"},
	"Variables": {"build/show | Hello world, and world again", "build/show | the home directory is /root",
		"build/show | this prints a reference as it is, ${name}"},
	"container":                          {"build/hello | hello"},
	"Environment variables and the user": {"build/show | hello at level 3 from user 1000"},
	"Timeouts and retries":               {"build/flaky | lucky"},
	"Artifacts":                          {"build/report | -- kept out/today/report.txt (5 B)"},
	"Caches":                             {"build/first | 10 /cache/numbers"},
	"Services":                           {"test/integration | pong"},
	"Steps that need other steps":        {"build/check | 42"},
	"A step for each combination": {"test/unit (1.9, fast) | testing 1.9, fast", "test/unit (1.9, thorough) | testing 1.9, thorough",
		"test/unit (1.10, fast) | testing 1.10, fast", "test/unit (1.10, thorough) | testing 1.10, thorough", "test/summary | all tested"},
	"The whole build": {"build/hello | hello"},
	"YAML":            {"build/one | one", "build/two | two"},
}

// newOwner returns an owner whose volumes, caches among them, are removed at the end of the test.
func newOwner(t *testing.T) string {
	t.Helper()
	owner := "test-" + worker.NewID()
	t.Cleanup(func() {
		d, err := docker.New(docker.Config{Owner: owner})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		volumes, err := d.ListVolumes(context.Background(), driver.ListOptions{})
		for _, v := range volumes {
			err = errors.Join(err, d.RemoveVolume(context.Background(), v.ID))
		}
		if err != nil {
			t.Error(err)
		}
	})
	return owner
}

// TestReferenceRuns runs every example of the reference that needs no more than a laptop has.
func TestReferenceRuns(t *testing.T) {
	t.Parallel()
	examples := runnable(t)
	if len(examples) < len(promised) {
		t.Errorf("only %d examples found", len(examples))
	}
	for _, e := range examples {
		t.Run(e.heading, func(t *testing.T) {
			t.Parallel()
			want, known := promised[e.heading]
			if !known {
				t.Fatal("say in this test what the example prints")
			}
			dir := t.TempDir()
			for name, text := range map[string]string{".wharf-ci.yml": e.text, "src.txt": "a source\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := wharf(t, append([]string{"run", "--output", "plain", dir}, e.flags(t)...)...)
			cmd.Env = append(cmd.Env, "WHARF_DRIVER=docker://?owner="+newOwner(t))
			out, err := cmd.CombinedOutput()
			if code := exitCode(t, err); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			lines := strings.Split(string(out), "\n")
			for _, w := range want {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, w) }) {
					t.Errorf("no line says %q", w)
				}
			}
			if t.Failed() {
				t.Logf("it says:\n%s", out)
			}
			nothingLeft(t, cmd)
		})
	}
}
