// Package testresults counts the tests in files that test runners write: JUnit XML, as most of them do, and TRX, as those of .NET do.
package testresults

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/wharfci/wharf/worker/journal"
)

// maxBytes bounds what is read of a file, maxPiece a tag or a text in it, which is in memory at once, and maxName the name of a test.
const (
	maxBytes = 64 << 20
	maxPiece = 4 << 20
	maxName  = 500
	maxDepth = 100 // of elements
)

// Candidate reports whether a file of this name may hold test results: .trx, or .xml.
func Candidate(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".trx", ".xml":
		return true
	}
	return false
}

// ErrOther is returned for a file that is XML of another kind.
var ErrOther = errors.New("it holds no test results")

var errDeep = fmt.Errorf("its elements are nested more than %d deep", maxDepth)

// bounded reads a file as far as the bounds allow.
type bounded struct {
	r           io.Reader
	left, piece int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("it is larger than %d bytes", maxBytes)
	}
	if b.piece == 0 {
		return 0, fmt.Errorf("a tag or a text in it is larger than %d bytes", maxPiece)
	}
	n, err := b.r.Read(p[:min(len(p), b.left, b.piece)])
	b.left -= n
	b.piece -= n
	return n, err
}

// Read counts the tests of a file. It reads a stream, and keeps nothing of it but names of tests that failed.
func Read(r io.Reader) (*journal.Tests, error) {
	in := &bounded{r: r, left: maxBytes}
	dec := xml.NewDecoder(in)
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // names may suffer, numbers do not
	c := &counter{in: in, dec: dec, tests: &journal.Tests{}}
	root, depth := true, 0
	for {
		token, err := c.token()
		switch {
		case errors.Is(err, io.EOF) && root:
			return nil, ErrOther
		case errors.Is(err, io.EOF):
			return c.tests, nil
		case err != nil && root:
			return nil, ErrOther
		case err != nil:
			return nil, err
		}
		start, ok := token.(xml.StartElement)
		if _, end := token.(xml.EndElement); end {
			depth--
		}
		if !ok {
			continue
		}
		if depth++; depth > maxDepth {
			return nil, errDeep
		}
		if root && start.Name.Local != "testsuites" && start.Name.Local != "testsuite" && start.Name.Local != "TestRun" {
			return nil, ErrOther
		}
		root = false
		if start.Name.Local == "testcase" {
			depth-- // it is read to its end
		}
		if err := c.element(start); err != nil {
			return nil, err
		}
	}
}

// counter counts the tests of one file.
type counter struct {
	in    *bounded
	dec   *xml.Decoder
	tests *journal.Tests
}

// token reads the next tag or text.
func (c *counter) token() (xml.Token, error) {
	c.in.piece = maxPiece
	return c.dec.Token()
}

func (c *counter) element(start xml.StartElement) error {
	switch start.Name.Local {
	case "testcase":
		return c.junit(start)
	case "UnitTestResult":
		c.trx(start)
	}
	return nil
}

// junit counts a test case, which is at its beginning, and reads it to its end.
func (c *counter) junit(start xml.StartElement) error {
	name := attr(start, "name")
	if class := attr(start, "classname"); class != "" {
		name = class + "." + name
	}
	seconds, _ := strconv.ParseFloat(strings.ReplaceAll(attr(start, "time"), ",", ""), 64)
	outcome := "passed"
	for depth := 1; depth > 0; {
		token, err := c.token()
		if err != nil {
			return fmt.Errorf("in the test %s: %w", name, err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return errDeep
			}
			switch t.Name.Local {
			case "failure", "error":
				outcome = "failed"
			case "skipped":
				if outcome == "passed" {
					outcome = "skipped"
				}
			}
		case xml.EndElement:
			depth--
		}
	}
	c.count(name, outcome, time.Duration(seconds*float64(time.Second)))
	return nil
}

// trx counts a result. Those of a test with several, such as one for each row of data, may stand inside another: the outer one is
// their sum, and is counted too, as the runner itself does.
func (c *counter) trx(start xml.StartElement) {
	outcome := "failed"
	switch attr(start, "outcome") {
	case "Passed", "PassedButRunAborted", "Completed", "Warning":
		outcome = "passed"
	case "NotExecuted", "Inconclusive", "NotRunnable", "Pending", "InProgress":
		outcome = "skipped"
	}
	c.count(attr(start, "testName"), outcome, clock(attr(start, "duration")))
}

func (c *counter) count(name, outcome string, took time.Duration) {
	t := c.tests
	t.Total++
	t.Took += max(0, took)
	switch outcome {
	case "passed":
		t.Passed++
	case "skipped":
		t.Skipped++
	default:
		t.Failed++
		if len(t.Failures) < journal.MostFailures {
			t.Failures = append(t.Failures, strings.ToValidUTF8(name[:min(len(name), maxName)], ""))
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// clock reads a time span of the form 01:02:03.4567.
func clock(text string) time.Duration {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return 0
	}
	hours, err1 := strconv.Atoi(parts[0])
	minutes, err2 := strconv.Atoi(parts[1])
	seconds, err3 := strconv.ParseFloat(parts[2], 64)
	if errors.Join(err1, err2, err3) != nil {
		return 0
	}
	return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(seconds*float64(time.Second))
}
