package conformance

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wharfci/wharf/driver/drivertest"
)

// The form that CI systems read: a suite for each group, in the order in which they come.
type (
	junitReport struct {
		XMLName  xml.Name      `xml:"testsuites"`
		Name     string        `xml:"name,attr"`
		Tests    int           `xml:"tests,attr"`
		Failures int           `xml:"failures,attr"`
		Time     string        `xml:"time,attr"`
		Suites   []*junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

type junit struct {
	w   io.Writer
	run Run
}

// NewJUnit returns a Printer that prints one document of JUnit's XML at the end.
func NewJUnit(w io.Writer, run Run) Printer { return &junit{w, run} }

func (*junit) Begin(drivertest.Case)     {}
func (*junit) Observe(drivertest.Report) {}

func (j *junit) End(reports []drivertest.Report, _ bool) error {
	doc := junitReport{
		Name: "wharf conformance of " + j.run.Runtime, Tests: len(reports), Failures: failed(reports), Time: seconds(time.Since(j.run.Began)),
	}
	suites := map[string]*junitSuite{}
	for _, r := range reports {
		s := suites[r.Group]
		if s == nil {
			s = &junitSuite{Name: r.Group, Timestamp: j.run.Began.UTC().Format("2006-01-02T15:04:05")}
			suites[r.Group] = s
			doc.Suites = append(doc.Suites, s)
		}
		c := junitCase{Name: strings.TrimPrefix(r.ID, r.Group+"/"), Class: r.Group, Time: seconds(r.Took), Output: strings.Join(r.Notes, "\n")}
		if !r.Passed() {
			s.Failures++
			c.Failure = &junitFailure{Message: r.Contract, Text: strings.Join(r.Failures, "\n")}
		}
		s.Tests++
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(j.w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(j.w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(j.w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
