package report_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/wharfci/wharf/provisioner/report"
)

func TestParse(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	for in, want := range map[string]report.Line{
		`{"time":"2026-03-04T05:06:07.000000089Z","state":"cloning"}`:                         {Time: at, State: report.Cloning},
		" {\"time\":\"2026-03-04T05:06:07.000000089Z\",\"state\":\"later\",\"more\":[1]}\r\n": {Time: at, State: "later"},
	} {
		if got, ok := report.Parse([]byte(in)); !ok || got != want {
			t.Errorf("Parse(%s) = %+v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "text", "{", "{}", `{"state":"cloned"}`, `{"time":"yesterday","state":"cloned"}`, `{"time":"2026-03-04T05:06:07Z"}`, `[1]`, "null"} {
		if got, ok := report.Parse([]byte(in)); ok {
			t.Errorf("Parse(%s) = %+v", in, got)
		}
	}
}

func TestWriteIsRead(t *testing.T) {
	want := report.Line{State: report.Failed, Reason: "one\n<two> & \"three\"\u2028", Commit: "c", Branch: "größe/$x'"}
	var b bytes.Buffer
	if err := report.Write(&b, want); err != nil {
		t.Fatal(err)
	}
	got, ok := report.Parse(b.Bytes())
	if !ok || got.Time.IsZero() || bytes.Count(b.Bytes(), []byte("\n")) != 1 {
		t.Fatalf("%s gives %+v, %v", b.Bytes(), got, ok)
	}
	want.Time = got.Time
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"time":"2026-03-04T05:06:07Z","state":"cloned","commit":"c","branch":"b"}`))
	f.Add([]byte(`{"time":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, ok := report.Parse(line)
		if !ok {
			return
		}
		var b bytes.Buffer
		if err := report.Write(&b, l); err != nil {
			return // a year that JSON cannot tell
		}
		if again, ok := report.Parse(b.Bytes()); !ok || !again.Time.Equal(l.Time) || again.State != l.State {
			t.Errorf("%+v becomes %+v, %v", l, again, ok)
		}
	})
}

func ExampleWrite() {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	_ = report.Write(os.Stdout, report.Line{Time: at, State: report.Cloning})
	_ = report.Write(os.Stdout, report.Line{Time: at, State: report.Failed, Reason: "no such branch"})
	// Output:
	// {"time":"2026-03-04T05:06:07Z","state":"cloning"}
	// {"time":"2026-03-04T05:06:07Z","state":"failed","reason":"no such branch"}
}

func ExampleParse() {
	l, ok := report.Parse([]byte(`{"time":"2026-03-04T05:06:07Z","state":"cloned","commit":"4b825dc","branch":"main"}`))
	fmt.Println(l.State, l.Commit, l.Branch, ok)
	// Output: cloned 4b825dc main true
}
