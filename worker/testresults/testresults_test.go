package testresults

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/worker/journal"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       *journal.Tests
		err        string
	}{
		{"junit", `<?xml version="1.0"?><testsuites><testsuite name="s" tests="4"><properties/>
			<testcase classname="a.B" name="one" time="0.25"/>
			<testcase classname="a.B" name="two" time="1,000.5"><failure message="m">text</failure><system-out>x</system-out></testcase>
			<testcase name="three"><skipped/></testcase>
			<testsuite name="inner"><testcase name="four"><error/></testcase></testsuite>
			</testsuite></testsuites>`,
			&journal.Tests{Total: 4, Passed: 1, Failed: 2, Skipped: 1, Took: 1000*time.Second + 750*time.Millisecond, Failures: []string{"a.B.two", "four"}}, ""},
		{"one suite, in another encoding", `<?xml version="1.0" encoding="ISO-8859-1"?><testsuite><testcase name="a"/></testsuite>`, &journal.Tests{Total: 1, Passed: 1}, ""},
		{"trx", `<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results>
			<UnitTestResult testName="N.A" outcome="Passed" duration="00:00:01.5000000"/>
			<UnitTestResult testName="N.B" outcome="Failed" duration="00:01:00"><Output><ErrorInfo/></Output></UnitTestResult>
			<UnitTestResult testName="N.C" outcome="NotExecuted"/>
			</Results></TestRun>`,
			&journal.Tests{Total: 3, Passed: 1, Failed: 1, Skipped: 1, Took: 61500 * time.Millisecond, Failures: []string{"N.B"}}, ""},
		{"other XML", `<project/>`, nil, ErrOther.Error()},
		{"no XML", "hello", nil, ErrOther.Error()},
		{"empty", "", nil, ErrOther.Error()},
		{"cut off", `<testsuite><testcase name="a">`, nil, "in the test a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Read(strings.NewReader(c.text))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestFailuresAreBounded(t *testing.T) {
	got, err := Read(strings.NewReader("<testsuite>" + strings.Repeat(`<testcase name="`+strings.Repeat("x", 1000)+`"><failure/></testcase>`, 500) + "</testsuite>"))
	if err != nil || got.Failed != 500 || len(got.Failures) != journal.MostFailures || len(got.Failures[0]) != maxName {
		t.Errorf("%d failed, %d named, %v", got.Failed, len(got.Failures), err)
	}
}

// A file that would take much memory is given up.
func TestPiecesAreBounded(t *testing.T) {
	for _, text := range []string{"<testsuite a=\"" + strings.Repeat("x", maxPiece+8192) + "\"/>", "<testsuite>" + strings.Repeat("x", maxPiece+8192) + "</testsuite>"} {
		if got, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%+v", got)
		}
	}
	texts := strings.Repeat("<testcase name=\"a\">"+strings.Repeat("x", maxPiece/2)+"</testcase>", 4)
	if got, err := Read(strings.NewReader("<testsuite>" + texts + "</testsuite>")); err != nil || got.Passed != 4 {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(`<testsuites><testsuite><testcase name="a" time="1"><failure/></testcase></testsuite></testsuites>`)
	f.Add(`<TestRun><UnitTestResult outcome="Passed" duration="00:00:01"/></TestRun>`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Read(strings.NewReader(text))
		if err == nil && got.Total != got.Passed+got.Failed+got.Skipped {
			t.Errorf("%+v", got)
		}
		if err != nil && got != nil && !errors.Is(err, ErrOther) {
			t.Errorf("%v with %+v", err, got)
		}
	})
}
