package giturl

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in     string
		want   URL
		remote string // as Git takes it, if not as it came
		shown  string // to a person, if not as Git takes it
	}{
		{in: "https://github.com/wharfci/wharf.git", want: URL{Scheme: HTTPS, Host: "github.com", Path: "/wharfci/wharf.git"}},
		{in: "HTTPS://GitHub.com:443/a/b", want: URL{Scheme: HTTPS, Host: "github.com", Path: "/a/b"}, remote: "https://github.com/a/b"},
		{in: "https://host:8443/a", want: URL{Scheme: HTTPS, Host: "host", Port: "8443", Path: "/a"}},
		{in: "https://token@host/a", want: URL{Scheme: HTTPS, User: "token", Host: "host", Path: "/a"}, shown: "https://host/a"},
		{in: "https://me%40example.com@host/a", want: URL{Scheme: HTTPS, User: "me@example.com", Host: "host", Path: "/a"}, shown: "https://host/a"},
		{in: "http://10.0.0.1/ab%20c", want: URL{Scheme: HTTP, Host: "10.0.0.1", Path: "/ab%20c"}},
		{in: "https://[2001:db8::1]:8443/a", want: URL{Scheme: HTTPS, Host: "2001:db8::1", Port: "8443", Path: "/a"}},
		{in: "ssh://git@host:7999/~me/a.git", want: URL{Scheme: SSH, User: "git", Host: "host", Port: "7999", Path: "/~me/a.git"}},
		{in: "ssh://host/a/", want: URL{Scheme: SSH, Host: "host", Path: "/a/"}},
		{in: "git@github.com:wharfci/wharf.git", want: URL{Scheme: SSH, User: "git", Host: "github.com", Path: "wharfci/wharf.git", Short: true}},
		{in: "host:/srv/a", want: URL{Scheme: SSH, Host: "host", Path: "/srv/a", Short: true}},
		{in: "git@[::1]:a", want: URL{Scheme: SSH, User: "git", Host: "::1", Path: "a", Short: true}},
		{in: "git@host:Größe/$x'\"#1", want: URL{Scheme: SSH, User: "git", Host: "host", Path: "Größe/$x'\"#1", Short: true}},
	} {
		got, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", c.in, err)
			continue
		}
		if got != c.want {
			t.Errorf("Parse(%q) = %+v, want %+v", c.in, got, c.want)
		}
		remote := or(c.remote, c.in)
		if got.Remote() != remote {
			t.Errorf("Remote of %q = %q, want %q", c.in, got.Remote(), remote)
		}
		if shown := or(c.shown, remote); got.String() != shown {
			t.Errorf("String of %q = %q, want %q", c.in, got, shown)
		}
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestParseRefuses(t *testing.T) {
	for in, why := range map[string]string{
		"":                                "is empty",
		"-uhttps://host/a":                "begins with a hyphen",
		"--upload-pack=touch /tmp/x":      "begins with a hyphen",
		"--upload-pack=x":                 "begins with a hyphen",
		"/srv/repository":                 "path of this machine",
		"../repository":                   "path of this machine",
		"repository":                      "path of this machine",
		"./a:b":                           "path of this machine",
		"C:/repository":                   "path of this machine",
		`C:\repository`:                   "backslash",
		"file:///srv/a":                   "scheme file://",
		"git://host/a":                    "scheme git://",
		"git+ssh://host/a":                "scheme git+ssh://",
		"gopher://host/a":                 "unknown scheme",
		"ext::sh":                         "program for Git to run",
		"ext::[sh":                        "program for Git to run",
		"ext::sh -c touch% /tmp/x":        "spaces",
		"fd::17/x":                        "program for Git to run",
		"https://me:s3cret@host/a":        "password",
		"https://me:@host/a":              "password",
		"me:s3cret@host:a":                "password",
		"https://-oProxyCommand=x@host/a": "hyphen",
		"ssh://-oProxyCommand=x/a":        "hyphen",
		"ssh://-oProxyCommand=x@host/a":   "hyphen",
		"ssh://%2DoProxyCommand=x@host/a": "hyphen",
		"ssh://git@-host/a":               "hyphen",
		"git@-host:a":                     "hyphen",
		"-oProxyCommand=x@host:a":         "hyphen",
		"git@host:-a":                     "hyphen",
		"ssh://a%20b@host/a":              "malformed user",
		"ssh://@host/a":                   "malformed user",
		"@host:a":                         "malformed user",
		"https://host/a\nb":               "control characters",
		"https://host/a%0ab":              "control characters",
		"https://host/a%00":               "control characters",
		"https://host/\u202ea":            "control characters",
		"https://host/a%ff":               "control characters",
		"https://host/a\xff":              "UTF-8",
		"https://host/a%zz":               "percent sign",
		"https://host/a?b":                "query",
		"https://host/a#b":                "query",
		"https://host":                    "no path",
		"https://host/":                   "no path",
		"host:":                           "no path",
		"https:///a":                      "no host",
		"https://münchen.example/a":       "no host",
		"https://host%2eexample/a":        "no host",
		"https://host..example/a":         "no host",
		"https://[::1/a":                  "malformed host",
		"https://[::1]x/a":                "malformed host",
		"https://[fe80::1%25eth0]/a":      "no host",
		"[host:22]:a":                     "no host",
		"https://host:0/a":                "malformed port",
		"https://host:65536/a":            "malformed port",
		"https://host:x/a":                "malformed port",
		"https://host/group/../other":     "empty parts",
		"https://host/group/%2e%2e/other": "empty parts",
		"https://host/group%2f..%2fother": "empty parts",
		"https://host//other":             "empty parts",
		"https://host/" + strings.Repeat("a", longest): "more than",
	} {
		_, err := Parse(in)
		if err == nil {
			t.Errorf("Parse(%q) succeeded", in)
			continue
		}
		if !strings.Contains(err.Error(), why) || !strings.HasSuffix(err.Error(), allowed) {
			t.Errorf("Parse(%q): %v; want a reason with %q and what is allowed", in, err, why)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Parse(%q) shows the password: %v", in, err)
		}
	}
}

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		allow   string // patterns, with spaces between
		http    bool
		yes, no string // URLs, with spaces between
	}{
		{"", false, "https://any.example/a git@any.example:a ssh://any.example/a https://h:99/a", "http://any.example/a"},
		{"", true, "https://any.example/a http://any.example/a", ""},
		{"github.com", false, "https://github.com/a git@github.com:a ssh://git@github.com:2222/a https://GITHUB.com/a", "http://github.com/a https://github.com.evil.example/a https://evilgithub.com/a https://x.github.com/a"},
		{"github.com", true, "http://github.com/a", "http://evil.example/a"},
		{"example.com:8443", false, "https://example.com:8443/a", "https://example.com/a"},
		{"example.com:443", false, "https://example.com/a", "ssh://example.com/a"},
		{"*.example.com", false, "https://a.example.com/x https://a.b.example.com/x", "https://example.com/x https://aexample.com/x"},
		{"*", false, "https://a.example/x", "http://a.example/x"},
		{"http://*", false, "http://a.example/x", "https://a.example/x http://a.example:81/x"},
		{"https://*.example.com:8443", false, "https://a.example.com:8443/x", "https://a.example.com/x"},
		{"https://git.example.com/group/*", false, "https://git.example.com/group/a https://git.example.com/group/sub/a.git",
			"https://git.example.com/group https://git.example.com/groups/a https://git.example.com/other/group/a ssh://git.example.com/group/a https://git.example.com:444/group/a"},
		{"git.example.com/group/a", false, "https://git.example.com/group/a.git git@git.example.com:group/a.git https://git.example.com/group/%61", "https://git.example.com/group/a/b https://git.example.com/group/b"},
		{"git.example.com/*/infra-*", false, "https://git.example.com/x/infra-a", "https://git.example.com/x/y/infra-a https://git.example.com/x/a"},
		{"a.example b.example", false, "https://a.example/x https://b.example/x", "https://c.example/x"},
		{"[::1]", false, "https://[::1]/x git@[::1]:x", "https://[::2]/x"},
	} {
		p := Policy{Allow: strings.Fields(c.allow), HTTP: c.http}
		if err := p.Validate(); err != nil {
			t.Errorf("%q: %v", c.allow, err)
		}
		for _, s := range strings.Fields(c.yes) {
			if err := p.Check(must(t, s)); err != nil {
				t.Errorf("%q, http %v: %v", c.allow, c.http, err)
			}
		}
		for _, s := range strings.Fields(c.no) {
			if err := p.Check(must(t, s)); !errors.Is(err, ErrNotAllowed) {
				t.Errorf("%q, http %v: %s gives %v", c.allow, c.http, s, err)
			}
		}
	}
}

func must(t *testing.T, s string) URL {
	t.Helper()
	u, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestPolicyRefusesPatterns(t *testing.T) {
	for _, s := range []string{"", "/a", "git://host", "a*.example.com", "a.*.com", "*example.com", "**", "me@host", "host/a//b", "host/[", "host/../a", "host:x", "host name", "-host"} {
		p := Policy{Allow: []string{s}}
		if p.Validate() == nil {
			t.Errorf("%q is taken for a pattern", s)
		}
		if p.Check(URL{Scheme: HTTPS, Host: "host", Path: "/a"}) == nil {
			t.Errorf("%q allows something", s)
		}
	}
}

var branches = []string{
	"main", "feature/a", "a.b", "a.lockb", "a./b", "a-b", "a-", "@", "a@b", "a{b}", "{", "a@", "quote'", `quote"`, "$HOME", "$(x)", "a;b", "a&b", "a|b",
	"50%", "#1", "a,b", "a=b", "a!b", "(a)", "<a>", "`a`", "]", "+a", "ü", "日本語", "\U0001f680", "a\u00a0b", "a\u202eb", "refs/heads/a", "heads/-a", "head", "a/-b",
	"", "HEAD", "-", "-a", "--upload-pack=x", "..", "a..b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a//b", "/a", "a/", "/", "a b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", `a\b`,
	"@{", "a@{b", "a@{-1}", "a\nb", "a\tb", "a\x7fb", "a\x01b", ".", "./a", "a/..", "@{-1}",
}

// What Git says of a name is what ValidBranch says, but for what it refuses further.
func TestValidBranchIsAsGitDoesIt(t *testing.T) {
	for _, name := range branches {
		byGit := exec.Command("git", "check-ref-format", "refs/heads/"+name).Run() == nil
		want := byGit && name != "HEAD" && !strings.HasPrefix(name, "-")
		if err := ValidBranch(name); (err == nil) != want {
			t.Errorf("ValidBranch(%q) = %v; git says %v", name, err, byGit)
		}
	}
	if ValidBranch("a\xff") == nil {
		t.Error("a name that is no UTF-8 is valid")
	}
}

func TestValidCommit(t *testing.T) {
	for s, want := range map[string]bool{
		strings.Repeat("0a", 20): true, strings.Repeat("0a", 32): true, "": false, "abc": false, strings.Repeat("0A", 20): false, strings.Repeat("-x", 20): false,
	} {
		if err := ValidCommit(s); (err == nil) != want {
			t.Errorf("ValidCommit(%q) = %v", s, err)
		}
	}
}

// FuzzParse: whatever comes, what is returned means the same to the next reader, cannot be an option, and shows no credential.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://me@host:1/a%20b", "git@host:a", "ssh://h/a", "git@[::1]:a", "ext::sh", "https://a:b@c/d", "-x", "host:-a", "file:///a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(u.Remote())
		if err != nil || again != u {
			t.Errorf("%q is %+v, and then %+v, %v", s, u, again, err)
		}
		for _, part := range []string{u.Remote(), u.User, u.Host, u.String()} {
			if strings.HasPrefix(part, "-") {
				t.Errorf("%q has the part %q", s, part)
			}
		}
		if u.Scheme != SSH && u.User != "" && strings.Contains(u.String(), "@"+u.HostPort()) {
			t.Errorf("%q is shown as %q", s, u)
		}
		(Policy{Allow: []string{"host/*", s}}).Check(u)
	})
}

// FuzzValidBranch: never what a refspec or an option could be made of.
func FuzzValidBranch(f *testing.F) {
	for _, s := range branches {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ValidBranch(s) == nil && (s == "" || s[0] == '-' || strings.ContainsAny(s, ": \n^~*")) {
			t.Errorf("%q is valid", s)
		}
	})
}
