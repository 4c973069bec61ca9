package local

import (
	"bytes"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink"
)

// FuzzBlock reads blocks that nobody has written: it never panics, and what can be read is read again as it was.
func FuzzBlock(f *testing.F) {
	var b block
	for i, text := range []string{"one", "", "three\r"} {
		b.add(&sink.Line{Time: time.Unix(int64(1_700_000_000-i), int64(i)), Text: []byte(text)})
	}
	f.Add(b.data)
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first []sink.Line
		if err := decode(data, func(at time.Time, text []byte) bool {
			first = append(first, sink.Line{Time: at, Text: text})
			return true
		}); err != nil {
			return
		}
		var again block
		for i := range first {
			again.add(&first[i])
		}
		var second []sink.Line
		if err := decode(again.data, func(at time.Time, text []byte) bool {
			second = append(second, sink.Line{Time: at, Text: text})
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(first, second, func(a, b sink.Line) bool { return a.Time.Equal(b.Time) && bytes.Equal(a.Text, b.Text) }) {
			t.Errorf("%v is read as %v", first, second)
		}
	})
}

// FuzzRequest reads parameters and headers: they never panic, and what is taken is within its bounds.
func FuzzRequest(f *testing.F) {
	f.Add("status=Running&limit=5&offset=2", "text/plain")
	f.Add("after=18446744073709551615&limit=-1&follow=x", "text/plain;q=0.5, */*;q=NaN")
	f.Fuzz(func(t *testing.T, text, accept string) {
		wantsText(accept)
		from, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		if q, err := parseQuery(from); err == nil && (q.limit < 0 || q.limit > mostBuilds || q.offset < 0 || len(q.status) > len(statuses)) {
			t.Errorf("%q is taken as %+v", text, q)
		}
		if q, err := parseLogQuery(from); err == nil && (int64(q.after) < 0 || int64(q.limit) < 0) {
			t.Errorf("%q is taken as %+v", text, q)
		}
	})
}

// A block that is damaged is an error.
func TestDamaged(t *testing.T) {
	var b block
	b.add(&sink.Line{Time: time.Unix(5, 6), Text: []byte("text")})
	for n := 1; n < len(b.data); n++ {
		if err := decode(b.data[:n], func(time.Time, []byte) bool { return true }); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a block", n, len(b.data))
		}
	}
}
