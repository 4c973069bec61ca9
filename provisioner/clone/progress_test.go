package clone

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wharfci/wharf/worker/mask"
)

func TestProgress(t *testing.T) {
	long := strings.Repeat("x", longLine-3)
	for _, c := range []struct{ name, in, printed, last string }{
		{"lines", "one\ntwo\r\nthree", "one\ntwo\nthree\n", "one two three"},
		{"empty lines", "\n\r\n \n", "", ""},
		{"a display", "remote: 1%\rremote: 50%\rremote: 100%, done.\nnext\n", "remote: 100%, done.\nnext\n", "remote: 100%, done. next"},
		{"the end of a display", "1%\r2%\r", "2%\n", "2%"},
		{"a token", "fatal: s3cret is wrong\n", "fatal: *** is wrong\n", "fatal: *** is wrong"},
		{"a token with something between", "s3\x01cr\x1b[2Jet\n", "***\n", "***"},
		{"a token that is cut", long + "s3cret and more\n", long + "…\n", long[:longWord] + "…"},
		{"colours", "\x1b[31mred\x1b[m \x1b[1;2Hx\x1b[?25my\x1b]0;title\x07z\n", "\x1b[31mred\x1b[m xy]0;titlez\x1b[0m\n", "red xy]0;titlez"},
		{"pretence", "a\u202eb\u2028c\x9bd\xffe\u200bf\x08g\tk\n", "abc\ufffdd\ufffdefg\tk\n", "abc\ufffdd\ufffdefg\tk"},
	} {
		for _, size := range []int{1, 2, 7, len(c.in)} {
			var out log
			p := &progress{w: &out, secrets: mask.New("s3cret"), redraw: time.Hour}
			s := p.stream(false)
			for piece := range slices.Chunk([]byte(c.in), size) {
				if n, err := s.Write(piece); n != len(piece) || err != nil {
					t.Fatal(n, err)
				}
			}
			last := strings.Join(s.end(), " ")
			if out.String() != c.printed || last != c.last {
				t.Errorf("%s, %d at once: printed %q, want %q; kept %q, want %q", c.name, size, out.String(), c.printed, last, c.last)
			}
		}
	}
}

func FuzzProgress(f *testing.F) {
	f.Add([]byte("one\r\ntwo\x1b[31m\rthree\n"), 3)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		print := func(size int) string {
			var out log
			s := (&progress{w: &out, secrets: mask.New("s3cret"), redraw: time.Hour}).stream(false)
			for piece := range slices.Chunk(in, size) {
				s.Write(piece)
			}
			s.end()
			return out.String()
		}
		whole := print(max(1, len(in)))
		if pieces := print(1 + max(0, size)%16); pieces != whole {
			t.Errorf("%q in pieces, %q at once", pieces, whole)
		}
		if strings.Contains(whole, "s3cret") || strings.ContainsAny(whole, "\r\x00\x07\x08") {
			t.Errorf("%q", whole)
		}
	})
}
