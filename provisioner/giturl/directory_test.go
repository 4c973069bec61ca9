package giturl

import "testing"

func TestDirectory(t *testing.T) {
	for in, want := range map[string]string{"docs": "docs", "/e f/": "e f", "a//b/./c": "a/b/c", "./a": "a", "Größe/#1": "Größe/#1", "/-x": "-x", "a.git": "a.git", "!a": "!a"} {
		if got, err := Directory(in); err != nil || got != want {
			t.Errorf("Directory(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/", ".", "..", "../a", "a/../b", "a/..", "a*", "a?", "[a]", `a\b`, `"a"`, "a\tb", "a\nb", "a\x00", "\x1b", "\u0085", "-x", "--stdin", ".git", "a/.GIT/hooks"} {
		if got, err := Directory(in); err == nil {
			t.Errorf("Directory(%q) = %q; want an error", in, got)
		}
	}
}
