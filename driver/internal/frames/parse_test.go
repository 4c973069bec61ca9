package frames

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
)

// frame is one frame of the daemon's format.
func frame(stream driver.Stream, content string) []byte {
	b := make([]byte, 8, 8+len(content))
	b[0] = byte(stream)
	binary.BigEndian.PutUint32(b[4:], uint32(len(content)))
	return append(b, content...)
}

// parse takes data apart in pieces of the given size, and writes what comes out: one line for each entry.
func parse(p *Parser, data []byte, size int, end bool) []string {
	var out []string
	add := func(e driver.LogEntry) {
		more := ""
		if e.Partial {
			more = "…"
		}
		out = append(out, fmt.Sprintf("%d:%s%s", e.Stream, e.Line, more))
	}
	for len(data) > 0 {
		piece := data[:min(size, len(data))]
		data = data[len(piece):]
		for {
			e, ok := p.Next(&piece, time.Unix(1, 0))
			if !ok {
				break
			}
			add(e)
		}
	}
	for end {
		e, ok := p.Flush(false)
		if !ok {
			break
		}
		add(e)
	}
	return out
}

func TestParseLive(t *testing.T) {
	long := strings.Repeat("x", driver.MaxLogLine)
	data := bytes.Join([][]byte{
		frame(1, "a\nb"), frame(2, "err\n"), frame(1, "c\n\n"), frame(1, ""), frame(1, long), frame(1, "y\n"), frame(1, long), frame(1, "\n"), frame(1, "last"),
	}, nil)
	want := []string{"1:a", "2:err", "1:bc", "1:", "1:" + long + "…", "1:y", "1:" + long, "1:last"}
	for _, size := range []int{1, 3, 8, 1000, len(data)} {
		p := &Parser{}
		p.Begin(Positions{})
		if diff := cmp.Diff(want, parse(p, data, size, true)); diff != "" {
			t.Errorf("pieces of %d (-want +got):\n%s", size, diff)
		}
	}
}

// TestParseLog reads messages as the daemon's log has them; the newline of a line that was cut is lost.
func TestParseLog(t *testing.T) {
	const stamp = "2026-01-02T03:04:05.000000006Z "
	full := strings.Repeat("x", messageSize)
	data := bytes.Join([][]byte{
		frame(1, stamp+"a\n"), frame(1, stamp+full), frame(1, stamp+full), frame(1, stamp+"end"), frame(1, stamp+"\n"), frame(1, stamp+full), frame(1, stamp), frame(2, stamp+"last"),
	}, nil)
	want := []string{"1:a", "1:" + full + full + "end", "1:", "1:" + full, "2:last"}
	for _, size := range []int{1, 5, len(data)} {
		p := &Parser{messages: true, stamps: true}
		p.Begin(Positions{})
		if diff := cmp.Diff(want, parse(p, data, size, true)); diff != "" {
			t.Errorf("pieces of %d (-want +got):\n%s", size, diff)
		}
	}
}

// FuzzParse looks whether a reader that changes, anywhere, from the live stream to the log delivers the
// same bytes, and whether broken frames are survived.
func FuzzParse(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), 3, 2)
	f.Add([]byte(strings.Repeat("x", 70_000)+"\ny"), 69_000, 1000)
	f.Fuzz(func(t *testing.T, text []byte, cut, size int) {
		size = max(1, size%100_000)
		cut = max(0, min(cut, len(text)))
		live, log := frame(1, string(text[:cut])), []byte{}
		for rest := text; len(rest) > 0; {
			n := min(len(rest), messageSize)
			if i := bytes.IndexByte(rest[:n], '\n'); i >= 0 {
				n = i + 1
			}
			log = append(log, frame(1, string(rest[:n]))...)
			rest = rest[n:]
		}
		p := &Parser{}
		p.Begin(Positions{})
		got := parse(p, live, size, false)
		p.Restart(true, false)
		got = append(got, parse(p, log, size, true)...)
		whole := &Parser{}
		whole.Begin(Positions{})
		want := parse(whole, frame(1, string(text)), len(text)+8, true)
		join := func(lines []string) string {
			return strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "…\n1:", "")
		}
		if join(got) != join(want) {
			t.Errorf("in two goes %.200q, in one %.200q", got, want)
		}
		broken := &Parser{messages: true, stamps: true}
		broken.Begin(Positions{})
		parse(broken, text, size, true)
	})
}

func TestCursor(t *testing.T) {
	container := strings.Repeat("0123456789abcdef", 4)
	c := FormatCursor(container, []Place{{"main", Positions{{12, 3}, {4, 0}}}})
	got, err := ParseCursor(c, container)
	if diff := cmp.Diff(map[string]Positions{"main": {{12, 3}, {4, 0}}}, got, cmp.AllowUnexported(position{})); err != nil || diff != "" {
		t.Errorf("%q: %v (-want +got):\n%s", c, err, diff)
	}
	for _, bad := range []driver.Cursor{"x", "1:", "1:000000000000", c + ";", c + ";a=1", c + ";a=1.2,3", c + ";a=-1.0,0.0"} {
		if got, err := ParseCursor(bad, container); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
}

func TestRepeats(t *testing.T) {
	for _, test := range []struct {
		list []uint64
		want bool
	}{{nil, false}, {[]uint64{1}, false}, {[]uint64{1, 2, 3}, false}, {[]uint64{1, 1}, true}, {[]uint64{1, 2, 1, 2}, true}, {[]uint64{1, 2, 3, 1}, true}, {[]uint64{1, 1, 2}, false}} {
		if got := repeats(test.list); got != test.want {
			t.Errorf("repeats(%v) = %v", test.list, got)
		}
	}
}
