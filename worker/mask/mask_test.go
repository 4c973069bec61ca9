package mask

import (
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	for _, c := range []struct {
		name    string
		secrets []string
		in, out string
	}{
		{"none", nil, "text", "text"},
		{"empty secret", []string{""}, "text", "text"},
		{"plain", []string{"s3cret"}, "a s3cret b s3cret", "a *** b ***"},
		{"adjacent", []string{"ab"}, "abab", "******"},
		{"one in another", []string{"pass", "password"}, "password pass", "*** ***"},
		{"overlap", []string{"abc", "bcd"}, "xabcdx", "x***x"},
		{"overlap of itself", []string{"aa"}, "aaa", "***"},
		{"lines of a key", []string{"-----BEGIN\nMIIEpQ\n}\n-----END\n"}, "-----BEGIN MIIEpQ } -----END", "*** *** } ***"},
		{"CRLF", []string{"first\r\nsecond\r\n"}, "first second", "*** ***"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := New(c.secrets...).String(c.in); got != c.out {
				t.Errorf("String(%q) = %q, want %q", c.in, got, c.out)
			}
		})
	}
}

// Wherever a line is cut into pieces, it is hidden as if it came whole.
func TestPieces(t *testing.T) {
	for _, c := range []struct {
		secrets []string
		in      string
	}{
		{[]string{"s3cret"}, "a s3cret b"},
		{[]string{"s3cret"}, "s3cre s3cret"},
		{[]string{"abc", "cde"}, "xxabcdexx abc cde"},
		{[]string{"aa"}, "aaaaa b aa"},
		{[]string{"abcabd"}, "abcabcabd"},
	} {
		s := New(c.secrets...)
		want := s.String(c.in)
		for i := range len(c.in) + 1 {
			for j := i; j <= len(c.in); j++ {
				l := NewLine(s)
				var got strings.Builder
				got.Write(l.Next([]byte(c.in[:i]), true))
				got.Write(l.Next([]byte(c.in[i:j]), true))
				got.Write(l.Next([]byte(c.in[j:]), false))
				if got.String() != want {
					t.Errorf("%q | %q | %q: got %q, want %q", c.in[:i], c.in[i:j], c.in[j:], got.String(), want)
				}
				if again := string(l.Next([]byte(c.in), false)); again != want {
					t.Errorf("next line after %q: got %q, want %q", c.in, again, want)
				}
			}
		}
	}
}

func FuzzPieces(f *testing.F) {
	f.Add("s3cret", "a s3cret b", uint8(5))
	f.Add("aaa", "aaaaaa", uint8(2))
	f.Fuzz(func(t *testing.T, secret, text string, cut uint8) {
		if strings.ContainsAny(secret+text, "\r\n") || secret == "" || strings.Contains(Replacement, secret) {
			return
		}
		s := New(secret)
		at := min(int(cut), len(text))
		l := NewLine(s)
		got := string(l.Next([]byte(text[:at]), true))
		got += string(l.Next([]byte(text[at:]), false))
		if want := s.String(text); got != want {
			t.Errorf("secret %q: %q | %q: got %q, want %q", secret, text[:at], text[at:], got, want)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	l := NewLine(New("s3cret-token", "another-one"))
	line := []byte(strings.Repeat("0123456789", 10))
	b.ReportAllocs()
	for b.Loop() {
		l.Next(line, false)
	}
}
