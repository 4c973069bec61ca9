package endtoend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wharfci/wharf/provisioner"
)

// branches are names that Git allows, and that a shell, a URL, a terminal or a template would take for something else.
var branches = []string{
	"feature/#1$x&y=z;rm+b%20c%2Fd", `"quoted"'name'${GIT_TOKEN}$(touch${IFS}x)` + "`id`", "ünïcödé/分支/🚀@b!c,d|e<f>(g){h}x--upload-pack=y", "refs/heads/main", "@",
}

// TestBranches builds branches with such names, as wharf-api names them.
func TestBranches(t *testing.T) {
	p := begin(t, "--limit=3")
	definition := checks("test \"$(cat branch)\" = ok")
	var ids []string
	for i, branch := range branches {
		p.commit("odd", branch, map[string]string{definitionFile: definition, "branch": "ok"})
		w := p.trigger(50+i, "odd", branch)
		if w.Branch != branch {
			t.Errorf("the branch is %q; want %q", w.Branch, branch)
		}
		ids = append(ids, w.ID)
	}
	p.allBe(ids, provisioner.Succeeded)
	if removed, err := p.client.Prune(t.Context(), 0); err != nil || len(removed) != len(branches) {
		t.Errorf("pruned were %v, %v", removed, err)
	}
}

// TestHostileServers clones from servers that are no good, and wants a person to be told why that failed.
func TestHostileServers(t *testing.T) {
	p := begin(t, "--clone-timeout=20s")
	elsewhere := serve(t, http.NotFoundHandler())
	mux := http.NewServeMux()
	mux.HandleFunc("/hangs.git/", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/garbage.git/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		fmt.Fprint(w, "\x00\xff\x1b[2Jgarbage")
	})
	mux.HandleFunc("/redirects.git/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere+r.URL.String(), http.StatusMovedPermanently)
	})
	mux.HandleFunc("/breaks.git/", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/fails.git/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oh", http.StatusInternalServerError) })
	p.git = serve(t, mux)
	cases := []struct{ repository, reason string }{
		{"hangs", "it takes too long"},
		{"garbage", "the server's answer is none of Git's"},
		{"redirects", "redirects to another address"},
		{"breaks", "the server's answer is none of Git's, or broke off"},
		{"fails", "the server's answer is none of Git's"},
	}
	ids := make([]string, len(cases))
	for i, c := range cases {
		ids[i] = p.trigger(70+i, c.repository, "main").ID
	}
	for i, c := range cases {
		w := p.until(ids[i], provisioner.Failed)
		if !strings.Contains(w.Reason, c.reason) || strings.ContainsRune(w.Reason, '\x1b') || strings.Contains(w.Reason, gitToken) {
			t.Errorf("%s: the reason is %q; want %q", c.repository, w.Reason, c.reason)
		}
	}
	if removed, err := p.client.Prune(t.Context(), 0); err != nil || len(removed) != 5 {
		t.Errorf("pruned were %v, %v", removed, err)
	}
}
