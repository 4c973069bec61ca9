package clone

import (
	"strings"
	"testing"

	"github.com/wharfci/wharf/provisioner/giturl"
)

func modules(pairs ...string) string {
	text := ""
	for i := 0; i < len(pairs); i += 2 {
		text += "[submodule \"" + pairs[i] + "\"]\n\tpath = " + pairs[i] + "\n\turl = " + pairs[i+1] + "\n"
	}
	return text
}

// nested makes group/top.git with the submodule libs/mid, which has the submodule leaf; both by relative URLs, and neither at the tip.
func nested(t testing.TB) *host {
	h := newHost(t)
	h.repo("group/top.git")
	h.repo("group/mid.git")
	h.repo("leaf.git")
	leaf := h.commit("leaf.git", "main", map[string]string{"leaf": "old"})
	h.commit("leaf.git", "main", map[string]string{"leaf": "new"})
	mid := h.commit("group/mid.git", "main", map[string]string{"mid": "m", ".gitmodules": modules("leaf", "../../leaf.git"), "leaf": "gitlink:" + leaf})
	h.commit("group/mid.git", "main", map[string]string{"mid": "newer"})
	h.commit("group/top.git", "main", map[string]string{"top": "t", ".gitmodules": modules("libs/mid", "../mid.git"), "libs/mid": "gitlink:" + mid})
	return h
}

func TestSubmodules(t *testing.T) {
	h := nested(t)
	const token = "s3cret"
	for name, config := range map[string]string{"gives commits": "uploadpack.allowAnySHA1InWant=true", "gives none": "protocol.version=0"} {
		url, seen := serve(t, basic("oauth2", token, h.handler(config)))
		o := Options{URL: url + "/group/top.git", Branch: "main", Submodules: true, TokenFile: write(t, token)}
		_, dir := must(t, o)
		if read(t, dir, "libs/mid/mid") != "m" || read(t, dir, "libs/mid/leaf/leaf") != "old" {
			t.Errorf("%s: not the commits that are wanted", name)
		}
		if n := git(t, dir+"/libs/mid/leaf", "rev-list", "--count", "HEAD"); n != "1" {
			t.Errorf("%s: there are %s commits of the submodule", name, n)
		}
		o.TokenFile, o.Depth = write(t, token), All
		if _, dir = must(t, o); git(t, dir+"/libs/mid", "rev-parse", "--is-shallow-repository") != "false" {
			t.Errorf("%s: the submodule is shallow", name)
		}
		// Without being asked for they are not touched.
		o.Submodules, o.TokenFile = false, write(t, token)
		before, _ := seen.all()
		if _, dir = must(t, o); exists(dir, "libs/mid/mid") {
			t.Error("there is a submodule")
		}
		after, _ := seen.all()
		if strings.Contains(strings.Join(after[len(before):], " "), "mid.git") {
			t.Errorf("%v", after)
		}
	}
}

// The commit of a submodule may be on another branch than its default one, which has no more to give.
func TestSubmoduleOfAnotherBranch(t *testing.T) {
	h := newHost(t)
	h.repo("top.git")
	h.repo("sub.git")
	h.commit("sub.git", "main", map[string]string{"file": "main"})
	h.commit("sub.git", "other", map[string]string{"file": "old"})
	old := git(t, h.root+"/sub.git", "rev-parse", "other")
	h.commit("sub.git", "other", map[string]string{"file": "new"})
	h.commit("top.git", "main", map[string]string{".gitmodules": modules("sub", "../sub.git"), "sub": "gitlink:" + old})
	for _, config := range []string{"protocol.version=2", "protocol.version=0"} {
		url, _ := serve(t, h.handler(config))
		if _, dir := must(t, Options{URL: url + "/top.git", Branch: "main", Submodules: true}); read(t, dir, "sub/file") != "old" {
			t.Errorf("%s: not the commit that is wanted", config)
		}
	}
}

// Each URL is judged before anyone connects to it, and a credential is shown to the one server that it is for.
func TestSubmodulesElsewhere(t *testing.T) {
	other := nested(t)
	elsewhere, seen := serve(t, other.handler())
	h := newHost(t)
	h.repo("a.git")
	h.repo("b.git")
	commit := git(t, other.root+"/leaf.git", "rev-parse", "main")
	const token = "s3cret"
	url, _ := serve(t, basic("oauth2", token, h.handler()))
	clone := func(link string) Options {
		b := h.commit("b.git", "main", map[string]string{".gitmodules": modules("sub", link), "sub": "gitlink:" + commit})
		h.commit("a.git", "main", map[string]string{".gitmodules": modules("b", "./../b.git"), "b": "gitlink:" + b})
		return Options{URL: url + "/a.git", Branch: "main", Submodules: true, TokenFile: write(t, token)}
	}
	for link, words := range map[string]string{
		elsewhere + "/leaf.git":   "submodule b/sub",
		"file://" + other.root:    "submodule b/sub",
		other.root + "/leaf.git":  "submodule b/sub",
		"ext::sh -c touch% x":     "submodule b/sub",
		"git://127.0.0.1/leaf":    "submodule b/sub",
		"ssh://-oProxyCommand=x/": "submodule b/sub",
	} {
		o := clone(link)
		o.Policy = giturl.Policy{Allow: []string{url}}
		if link == "ext::sh -c touch% x" || strings.HasPrefix(link, "/") || strings.HasPrefix(link, "file") {
			o.Policy = giturl.Policy{HTTP: true} // any host
		}
		if text, printed := fails(t, o, NotAllowed, words); strings.Contains(text+printed, token) {
			t.Errorf("the token is shown: %s\n%s", text, printed)
		}
	}
	if requests, _ := seen.all(); len(requests) > 0 {
		t.Errorf("the other server was asked: %v", requests)
	}
	o := clone(elsewhere + "/leaf.git")
	if _, out, err := try(t, o); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	private, both := serve(t, basic("oauth2", token, other.handler()))
	o = clone(private + "/leaf.git")
	fails(t, o, Auth, "submodule b/sub", "none was given for it")
	for _, s := range []interface{ all() (_, auth []string) }{seen, both} {
		if _, auth := s.all(); strings.Join(auth, "") != "" {
			t.Error("another server was shown the credential")
		}
	}
	o = clone("ssh://git@127.0.0.1:1/leaf.git")
	fails(t, o, Unreachable, "submodule b/sub")
}

// What .gitmodules may not do: name programs, or places outside.
func TestHostileSubmodules(t *testing.T) {
	h := nested(t)
	url, _ := serve(t, h.handler())
	commit := git(t, h.root+"/leaf.git", "rev-parse", "main")
	for name, text := range map[string]string{
		"update":  modules("sub", "../leaf.git") + "\tupdate = !touch x\n",
		"path":    "[submodule \"x\"]\n\tpath = ../sub\n\turl = ../leaf.git\n",
		"name":    "[submodule \"../../x\"]\n\tpath = sub\n\turl = ../leaf.git\n",
		"option":  modules("sub", "-u../leaf.git"),
		"garbage": "[submodule",
	} {
		h.repo(name + ".git")
		h.commit(name+".git", "main", map[string]string{".gitmodules": text, "sub": "gitlink:" + commit})
		if _, out, err := try(t, Options{URL: url + "/" + name + ".git", Branch: "main", Submodules: true}); err == nil {
			t.Errorf("%s: it succeeds\n%s", name, out)
		}
	}
	// A submodule that the repository says is to be left alone.
	h.repo("none.git")
	h.commit("none.git", "main", map[string]string{".gitmodules": modules("sub", "../leaf.git") + "\tupdate = none\n", "sub": "gitlink:" + commit})
	if _, dir := must(t, Options{URL: url + "/none.git", Branch: "main", Submodules: true}); exists(dir, "sub/leaf") {
		t.Error("it was cloned")
	}
}
