// Testjson runs go test -json, prints a line per package and the output of what failed, and exits with 1
// if anything failed or was skipped: a test that is skipped proves nothing, and nobody sees it.
//
//	testjson [FLAG OF GO TEST…] -- PACKAGE…
//
// What failed is run once more, by itself, unless it is much: the tests talk to real daemons on machines that do other things
// too. What passes then is told as FLAKY, with the output of its failure, and does not fail the run.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	i := slices.Index(os.Args, "--")
	if i < 0 || i == len(os.Args)-1 {
		fmt.Fprintln(os.Stderr, "usage: testjson [FLAG OF GO TEST…] -- PACKAGE…")
		os.Exit(2)
	}
	ok, err := run(os.Args[1:i], os.Args[i+1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testjson:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// run runs the tests of packages, and once more those that failed, and returns whether all is well.
func run(flags, packages []string, out io.Writer) (ok bool, err error) {
	var r reporter
	if err := r.test(flags, packages, out); err != nil {
		return false, err
	}
	for _, again := range r.again() {
		fmt.Fprintln(out, "once more, by itself, what failed in", again.pkg)
		var second reporter
		if err := second.test(again.flags(flags), []string{again.pkg}, out); err != nil {
			return false, err
		}
		if second.well() {
			r.excuse(again)
		}
	}
	return r.summary(out), nil
}

// test runs go test, and collects what it tells.
func (r *reporter) test(flags, packages []string, out io.Writer) error {
	cmd := exec.Command("go", slices.Concat([]string{"test", "-json"}, flags, packages)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := r.read(pipe, out)
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() && len(r.failed) > 0 {
		err = nil // the report says it already
	}
	return errors.Join(readErr, err)
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
	unbuilt []string // packages that do not compile
	broken  []string // packages that ended in a panic, or in the middle of a test: what followed did not run
	skipped []key
	flaky   []key
	times   []timed
}

// timed is how long a test took by itself, in seconds, without the wait for its turn.
type timed struct {
	key
	seconds float64
}

// slow is from how many seconds on a test is worth a line, and slowest how many of them are.
const slow, slowest = 10, 12

// read copies in to out, made readable.
func (r *reporter) read(in io.Reader, out io.Writer) error {
	r.out, r.output = out, map[key]*strings.Builder{}
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
			return nil
		}
		if err != nil {
			return err
		}
	}
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
		r.times = append(r.times, timed{k, e.Elapsed})
	}
	switch {
	case e.Action == "fail":
		r.failed = append(r.failed, k)
		if e.FailedBuild != "" {
			r.unbuilt = append(r.unbuilt, k.pkg)
		}
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
			r.broken = append(r.broken, pkg)
			r.print(k)
			delete(r.output, k)
		}
	}
}

func (r *reporter) print(k key) {
	if b := r.output[k]; b != nil {
		if strings.Contains("\n"+b.String(), "\npanic: ") {
			r.broken = append(r.broken, k.pkg)
		}
		fmt.Fprintf(r.out, "--- %s %s\n%s", k.pkg, k.test, b)
	}
}

func (r *reporter) well() bool { return len(r.failed) == 0 && len(r.skipped) == 0 && r.tests > 0 }

func (r *reporter) summary(out io.Writer) bool {
	for _, k := range r.flaky {
		fmt.Fprintf(out, "FLAKY    %s %s (failed, see above, and passed when it was run again)\n", k.pkg, k.test)
	}
	for _, k := range r.failed {
		fmt.Fprintf(out, "FAILED   %s %s\n", k.pkg, k.test)
	}
	for _, k := range r.skipped {
		fmt.Fprintf(out, "SKIPPED  %s %s (no test may be skipped)\n", k.pkg, k.test)
	}
	for _, t := range r.slowest() {
		fmt.Fprintf(out, "slow  %6.1f s  %s %s\n", t.seconds, t.pkg, t.test)
	}
	fmt.Fprintf(out, "%d tests, %d failed, %d skipped\n", r.tests, len(r.failed), len(r.skipped))
	if r.tests == 0 {
		fmt.Fprintln(out, "no test ran at all")
	}
	return r.well()
}

// slowest returns what to look at if the run takes too long. A test that consists of others is none of it.
func (r *reporter) slowest() []timed {
	all := slices.DeleteFunc(slices.Clone(r.times), func(t timed) bool {
		return t.seconds < slow || slices.ContainsFunc(r.times, func(o timed) bool { return o.pkg == t.pkg && strings.HasPrefix(o.test, t.test+"/") })
	})
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(b.seconds, a.seconds) })
	return all[:min(slowest, len(all))]
}
