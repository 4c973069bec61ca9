package clone

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAgain: a clone that was completed is there for the next one of the same, whose token is gone, and for no other.
func TestAgain(t *testing.T) {
	h, commits := history(t)
	url, _ := serve(t, basic("oauth2", "token", h.handler()))
	o := Options{URL: url + "/group/name.git", Branch: "main", Dir: filepath.Join(t.TempDir(), "dir"), Again: true, TokenFile: filepath.Join(t.TempDir(), "token")}
	token := func() {
		t.Helper()
		if err := os.WriteFile(o.TokenFile, []byte("token"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token()
	first, _ := must(t, o)
	if exists(filepath.Dir(o.TokenFile), "token") {
		t.Fatal("the token stays")
	}
	h.commit("group/name.git", "main", map[string]string{"file": "5"})
	for what, before := range map[string]func(){
		"when all is done":                        func() {},
		"when it was killed with the token left":  token,
		"when it was killed before the mark went": func() { _ = os.WriteFile(filepath.Join(o.Dir, ".git", unfinished), nil, 0o666) },
	} {
		before()
		again, out := must(t, o)
		if again != first || read(t, o.Dir, "file") != "4" || exists(filepath.Dir(o.TokenFile), "token") || exists(o.Dir, ".git/"+unfinished) {
			t.Errorf("%s: %+v, want %+v\n%s", what, again, first, out)
		}
	}
	for what, change := range map[string]func(*Options){
		"another branch":            func(o *Options) { o.Branch = "other" },
		"another commit":            func(o *Options) { o.Commit = commits[0] },
		"one that is not to be had": func(o *Options) { o.Again = false },
	} {
		other := o
		change(&other)
		token()
		if _, _, err := try(t, other); err == nil {
			t.Errorf("%s: it succeeds", what)
		}
	}
}
