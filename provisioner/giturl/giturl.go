// Package giturl reads the URLs of Git repositories that others have sent, and says which of them may be cloned.
//
// Git takes much more for a URL than a build service should: files of this machine, programs to run ("ext::sh -c …"), and words
// that ssh or Git itself would take for options. Parse knows four forms and refuses the rest:
//
//	https://host[:port]/path
//	http://host[:port]/path        if the policy says so
//	ssh://[user@]host[:port]/path
//	[user@]host:path               as scp writes it
//
// A URL that Parse returns cannot be an option, for Git or for ssh, has one meaning, and names a host. Where it leads is for a
// [Policy] to judge.
package giturl

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The schemes of URLs.
const (
	HTTPS = "https"
	HTTP  = "http"
	SSH   = "ssh"
)

// allowed ends every error about the form of a URL.
const allowed = "allowed are https://host/path, http://host/path, ssh://user@host/path and user@host:path"

// longest is the length of a URL in bytes beyond which nobody means it.
const longest = 2048

// URL is a repository's URL. Only Parse makes a valid one. It is comparable.
type URL struct {
	Scheme string // HTTPS, HTTP or SSH
	User   string // decoded; empty if there is none
	Host   string // in lower case; an IPv6 address without brackets
	Port   string // empty: that of the scheme
	Path   string // as it was written, with the slash that it begins with, if it does
	Short  bool   // in the form of scp, whose path is relative to the user's home directory
}

// Parse reads a URL. The error says what is wrong and what is allowed, and quotes nothing that may be a credential.
func Parse(s string) (URL, error) {
	u, err := parse(s)
	if err != nil {
		return URL{}, fmt.Errorf("the URL of the repository %w; %s", err, allowed)
	}
	return u, nil
}

func parse(s string) (URL, error) {
	if err := text(s); err != nil {
		return URL{}, err
	}
	scheme, rest, full := strings.Cut(s, "://")
	var u URL
	var err error
	switch {
	case full && !strings.ContainsAny(scheme, "/:@"):
		u, err = long(strings.ToLower(scheme), rest)
	default:
		u, err = short(s)
	}
	if err != nil {
		return URL{}, err
	}
	if err := u.check(); err != nil {
		return URL{}, err
	}
	return u, nil
}

// text refuses what no URL may contain, wherever it stands.
func text(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > longest:
		return fmt.Errorf("has more than %d bytes", longest)
	case s[0] == '-':
		return errors.New("begins with a hyphen, as an option does")
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(s, unprintable):
		return errors.New("contains spaces, control characters or characters that cannot be seen")
	case strings.Contains(s, `\`):
		return errors.New("contains a backslash")
	}
	return nil
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// long reads what follows "scheme://".
func long(scheme, rest string) (URL, error) {
	if scheme != HTTPS && scheme != HTTP && scheme != SSH {
		if known(scheme) {
			return URL{}, fmt.Errorf("has the scheme %s://, which is not allowed", scheme)
		}
		return URL{}, errors.New("has an unknown scheme")
	}
	authority, path, _ := strings.Cut(rest, "/")
	u := URL{Scheme: scheme, Path: "/" + path}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if strings.Contains(authority[:i], ":") {
			return URL{}, errors.New("contains a password, which logs and process lists would show: give it apart from the URL")
		}
		user, err := url.PathUnescape(authority[:i])
		if err != nil || user == "" {
			return URL{}, errors.New("has a malformed user")
		}
		u.User, authority = user, authority[i+1:]
	}
	if scheme != SSH && strings.ContainsAny(path, "?#") {
		return URL{}, errors.New("has a query or a fragment")
	}
	return u, u.address(authority)
}

// known reports whether a scheme is one that may be repeated in an error.
func known(scheme string) bool {
	switch scheme {
	case "file", "git", "ftp", "ftps", "git+ssh", "ssh+git", "git+https", "git+http", "rsync", "ext", "fd":
		return true
	}
	return false
}

// address reads host and port.
func (u *URL) address(s string) error {
	if strings.ContainsAny(s, "?#") {
		return errors.New("has a malformed host")
	}
	if after, bracket := strings.CutPrefix(s, "["); bracket {
		host, port, closed := strings.Cut(after, "]")
		if !closed || port != "" && port[0] != ':' {
			return errors.New("has a malformed host")
		}
		u.Host, s = host, port
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		u.Host, s = s[:i], s[i:]
	}
	u.Host = strings.ToLower(u.Host)
	if s == "" || s == ":" {
		return nil
	}
	n, err := strconv.ParseUint(s[1:], 10, 16)
	if err != nil || n == 0 {
		return errors.New("has a malformed port: it is a number from 1 to 65535")
	}
	u.Port = strconv.FormatUint(n, 10)
	if u.Port == ports[u.Scheme] {
		u.Port = ""
	}
	return nil
}

// ports are those of the schemes.
var ports = map[string]string{HTTPS: "443", HTTP: "80", SSH: "22"}

// short reads the form of scp.
func short(s string) (URL, error) {
	u := URL{Scheme: SSH, Short: true}
	head, _, _ := strings.Cut(s, "/")
	if !strings.Contains(head, ":") {
		return URL{}, errors.New("is a path of this machine, or has no scheme")
	}
	rest := s
	colon, at := strings.IndexByte(head, ':'), strings.IndexByte(head, '@')
	if at > colon {
		return URL{}, errors.New("contains a password, which logs and process lists would show: give it apart from the URL")
	}
	if at >= 0 {
		if at == 0 {
			return URL{}, errors.New("has a malformed user")
		}
		u.User, rest = s[:at], s[at+1:]
	}
	var host, path string
	if after, bracket := strings.CutPrefix(rest, "["); bracket {
		var ok bool
		if host, path, ok = strings.Cut(after, "]:"); !ok || !strings.Contains(host, ":") {
			return URL{}, errors.New("has a malformed host; a port needs the form ssh://host:port/path")
		}
	} else {
		host, path, _ = strings.Cut(rest, ":")
		if strings.HasPrefix(path, ":") {
			return URL{}, errors.New("names a program for Git to run (name::address)")
		}
		if len(host) == 1 { // a drive of Windows
			return URL{}, errors.New("is a path of this machine, or has no scheme")
		}
	}
	u.Host, u.Path = strings.ToLower(host), path
	return u, nil
}

var (
	hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*$`)
	userForm = regexp.MustCompile(`^[A-Za-z0-9_.+~][A-Za-z0-9_.+~-]*$`)
	mailForm = regexp.MustCompile(`^[A-Za-z0-9_.+~][A-Za-z0-9_.+~@-]*$`) // what some servers take for the name of an account
)

// check refuses parts that are malformed, or that a program could take for something else.
func (u URL) check() error {
	if a, err := netip.ParseAddr(u.Host); err != nil || a.Zone() != "" || a.Is4In6() {
		if strings.HasPrefix(u.Host, "-") {
			return errors.New("has a host that begins with a hyphen, as an option does")
		}
		if len(u.Host) > 255 || !hostForm.MatchString(u.Host) {
			return errors.New("has no host, or a malformed one; other letters than those of ASCII are written in the form xn--…")
		}
	}
	form := userForm
	if u.Scheme != SSH {
		form = mailForm
	}
	if strings.HasPrefix(u.User, "-") {
		return errors.New("has a user that begins with a hyphen, as an option does")
	}
	if u.User != "" && !form.MatchString(u.User) {
		return errors.New("has a malformed user")
	}
	return u.checkPath()
}

func (u URL) checkPath() error {
	path := u.Path
	if !u.Short { // Git decodes the others
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return errors.New("has a percent sign in its path that encodes nothing")
		}
		path = decoded
	}
	if !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return r != ' ' && unprintable(r) }) {
		return errors.New("has control characters, or some that cannot be seen, in its path")
	}
	if strings.Contains(path, `\`) {
		return errors.New("contains a backslash")
	}
	if strings.HasPrefix(path, "-") {
		return errors.New("has a path that begins with a hyphen, as an option does")
	}
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return errors.New("has no path")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New(`has a path with empty parts, "." or ".."`)
		}
	}
	return nil
}

// String returns the URL as a person should see it: without the user of an HTTP URL, in whose place people put tokens.
func (u URL) String() string {
	if u.Scheme != SSH {
		u.User = ""
	}
	return u.Remote()
}

// Remote returns the URL as Git takes it, with the user.
func (u URL) Remote() string {
	user := ""
	if u.User != "" {
		user = strings.ReplaceAll(u.User, "@", "%40") + "@"
	}
	if u.Short {
		host := u.Host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return user + host + ":" + u.Path
	}
	return u.Scheme + "://" + user + u.HostPort() + u.Path
}

// HostPort returns the host, and the port unless it is that of the scheme, as in a URL.
func (u URL) HostPort() string {
	host := u.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.Port != "" {
		host += ":" + u.Port
	}
	return host
}

// port returns the port, also where it is that of the scheme.
func (u URL) port() string {
	if u.Port == "" {
		return ports[u.Scheme]
	}
	return u.Port
}

// Origin returns scheme, host and port: what a credential belongs to.
func (u URL) Origin() string { return u.Scheme + "://" + u.HostPort() }

// Repository returns the path decoded, without the slashes around it and without ".git".
func (u URL) Repository() string {
	path := u.Path
	if !u.Short {
		if decoded, err := url.PathUnescape(path); err == nil {
			path = decoded
		}
	}
	return strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}
