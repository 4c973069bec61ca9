// Testjson reads the output of go test -json, prints a line per package and the output of what failed, and exits with 1
// if anything failed or was skipped: a test that is skipped proves nothing, and nobody sees it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	ok, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testjson:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// key is a test, or a package for an empty Test.
type key struct{ pkg, test string }

// reporter collects the output of what has not ended yet.
type reporter struct {
	out     io.Writer
	output  map[key]*strings.Builder
	tests   int
	failed  []key
	skipped []key
}

// report copies in to out, made readable, and returns whether all is well.
func report(in io.Reader, out io.Writer) (ok bool, err error) {
	r := reporter{out: out, output: map[key]*strings.Builder{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				out.Write(line) // go itself, about a build that failed
			} else {
				r.event(e)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
	}
	return r.summary(), nil
}

func (r *reporter) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(r.out, e.Output)
	case "output":
		if r.output[k] == nil {
			r.output[k] = new(strings.Builder)
		}
		r.output[k].WriteString(e.Output)
	case "pass", "skip", "fail":
		r.end(k, e)
	}
}

func (r *reporter) end(k key, e event) {
	if k.test != "" {
		r.tests++
	}
	switch {
	case e.Action == "fail":
		r.failed = append(r.failed, k)
		r.print(k)
		if k.test == "" {
			r.unended(k.pkg)
		}
	case e.Action == "skip" && k.test != "":
		r.skipped = append(r.skipped, k)
		r.print(k)
	}
	delete(r.output, k)
	if k.test == "" && !(e.Action == "skip") { // a package without tests is no skipped test
		fmt.Fprintf(r.out, "%-4s  %6.1f s  %s\n", e.Action, e.Elapsed, k.pkg)
	}
}

// unended prints what the tests of a failed package printed whose end was not seen: a crash says there what happened.
func (r *reporter) unended(pkg string) {
	for k := range r.output {
		if k.pkg == pkg && k.test != "" {
			r.print(k)
			delete(r.output, k)
		}
	}
}

func (r *reporter) print(k key) {
	if b := r.output[k]; b != nil {
		fmt.Fprintf(r.out, "--- %s %s\n%s", k.pkg, k.test, b)
	}
}

func (r *reporter) summary() bool {
	for _, k := range r.failed {
		fmt.Fprintf(r.out, "FAILED   %s %s\n", k.pkg, k.test)
	}
	for _, k := range r.skipped {
		fmt.Fprintf(r.out, "SKIPPED  %s %s (no test may be skipped)\n", k.pkg, k.test)
	}
	fmt.Fprintf(r.out, "%d tests, %d failed, %d skipped\n", r.tests, len(r.failed), len(r.skipped))
	if r.tests == 0 {
		fmt.Fprintln(r.out, "no test ran at all")
	}
	return len(r.failed) == 0 && len(r.skipped) == 0 && r.tests > 0
}
