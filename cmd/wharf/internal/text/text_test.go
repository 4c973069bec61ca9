package text

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppend(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		opts     Options
	}{
		"plain":                 {in: "go build ./...", want: "go build ./..."},
		"colour dropped":        {in: "\x1b[1;31mred\x1b[0m!", want: "red!"},
		"colour kept":           {in: "\x1b[31mred", want: "\x1b[31mred\x1b[0m", opts: Options{Colour: true}},
		"only colours are kept": {in: "a\x1b[2Jb\x1b[10;10Hc\x1b[?25ld", want: "abcd", opts: Options{Colour: true}},
		"colour of 24 bits":     {in: "\x1b[38:2::1:2:3;1mred", want: "\x1b[38:2::1:2:3;1mred\x1b[0m", opts: Options{Colour: true}},
		"private, ending in m":  {in: "a\x1b[>4;2mb\x1b[?4mc\x1b[1 md", want: "abcd", opts: Options{Colour: true}},
		"progress":              {in: "10%\r55%\r100%", want: "100%"},
		"progress, ended":       {in: "10%\r100%\r\r", want: "100%"},
		"title":                 {in: "\x1b]0;owned\x07ok", want: "ok"},
		"hyperlink":             {in: "\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", want: "text"},
		"endless title":         {in: "\x1b]0;all that follows", want: "0;all that follows"},
		"endless sequence":      {in: "a\x1b[31", want: "a"},
		"lone escape":           {in: "a\x1b", want: "a"},
		"charset":               {in: "\x1b(0lqk\x1b(B", want: "lqk"},
		"controls":              {in: "a\x00b\x08c\x07d\x7fe", want: "abcde"},
		"C1":                    {in: "a\u009b31mb", want: "a31mb"},
		"direction":             {in: "a\u202egpj.exe\u2066", want: "agpj.exe"},
		"invalid":               {in: "a\xff\xfeb", want: "a\ufffd\ufffdb"},
		"tabs kept":             {in: "a\tb", want: "a\tb"},
		"tabs as spaces":        {in: "a\tb\tc", want: "a       b       c", opts: Options{TabStop: 8}},
		"tab after wide":        {in: "日\tb", want: "日      b", opts: Options{TabStop: 8}},
		"emoji":                 {in: "👩‍💻 ok", want: "👩‍💻 ok"},
	} {
		if got := string(Append(nil, []byte(c.in), c.opts)); got != c.want {
			t.Errorf("%s: Append(%q) = %q, want %q", name, c.in, got, c.want)
		}
	}
}

func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"hello", 5, "hello"}, {"hello", 4, "hel…"}, {"hello", 1, "…"}, {"hello", 0, ""},
		{"日本語", 6, "日本語"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"日本語", 2, "…"},
		{"👩‍💻👩‍💻", 3, "👩‍💻…"}, {"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
	} {
		if got := Truncate(c.in, c.width, "…"); got != c.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b]0;x\x07\r\t日\xff"), 8, true)
	f.Fuzz(func(t *testing.T, line []byte, tab int, colour bool) {
		o := Options{TabStop: max(0, min(tab, 16)), Colour: colour}
		got := Append(nil, line, o)
		if !utf8.Valid(got) {
			t.Errorf("%q gives %q, which is no UTF-8", line, got)
		}
		for i, c := range got {
			if c < 0x20 && c != '\t' && !(colour && c == 0x1b && strings.HasPrefix(string(got[i:]), "\x1b[")) {
				t.Errorf("%q gives %q, with a control character", line, got)
			}
		}
		if s := Truncate(Clean(string(line)), 10, "…"); Width(s) > 10 {
			t.Errorf("%q gives %q, of width %d", line, s, Width(s))
		}
	})
}
