package giturl

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrNotAllowed is the error of a URL that is well formed and that a policy does not allow.
var ErrNotAllowed = errors.New("not allowed")

// Policy says which repositories may be cloned. The zero value allows every host, by https and ssh.
type Policy struct {
	// Allow lists patterns, one of which has to match; if it is empty, all do. A pattern is
	//
	//	example.com                  the host by https and ssh, on any port
	//	example.com:8443             the same on that port
	//	*.example.com                the hosts below it, not itself; * is every host
	//	example.com/group/*          what is below a path there, at any depth; * within a path is one part, or some of it
	//	example.com/group/name       one repository, with or without ".git"
	//	https://example.com/group/*  by that scheme alone, on its usual port unless one is given; so http:// has to be written
	Allow []string
	// HTTP allows http:// wherever a pattern does not name a scheme. What is sent that way, a token too, can be read and changed
	// underway.
	HTTP bool
}

// Validate checks the patterns.
func (p Policy) Validate() error {
	for _, s := range p.Allow {
		if _, err := compile(s); err != nil {
			return fmt.Errorf("pattern %q: %w", s, err)
		}
	}
	return nil
}

// Check returns an error that wraps ErrNotAllowed if the URL may not be cloned. A pattern that is wrong allows nothing.
func (p Policy) Check(u URL) error {
	if err := p.Validate(); err != nil {
		return err
	}
	schemeless := u.Scheme != HTTP || p.HTTP
	if len(p.Allow) == 0 && schemeless {
		return nil
	}
	for _, s := range p.Allow {
		if c, _ := compile(s); c.match(u, schemeless) {
			return nil
		}
	}
	if len(p.Allow) == 0 {
		return fmt.Errorf("%s is %w: use https, since what http:// carries can be read and changed underway", u, ErrNotAllowed)
	}
	return fmt.Errorf("%s is %w: this installation clones only from %s", u, ErrNotAllowed, strings.Join(p.Allow, ", "))
}

// pattern is one of a policy's.
type pattern struct {
	scheme string // empty: https and ssh
	host   string // "*", "*.domain" or a host
	port   string // empty: any, or the scheme's if there is one
	path   []string
}

func compile(s string) (pattern, error) {
	var p pattern
	rest := s
	if scheme, after, is := strings.Cut(s, "://"); is {
		p.scheme, rest = strings.ToLower(scheme), after
		if ports[p.scheme] == "" {
			return p, errors.New("its scheme must be https, http or ssh")
		}
	}
	if strings.ContainsFunc(s, unprintable) || strings.ContainsAny(s, `\?#`) {
		return p, errors.New(`it contains spaces, control characters, or one of \ ? #`)
	}
	address, below, slash := strings.Cut(rest, "/")
	host := address
	wild := host == "*" || strings.HasPrefix(host, "*.") || strings.HasPrefix(host, "*:")
	if wild {
		host = strings.Replace(host, "*", "any", 1)
	}
	if strings.Contains(host, "@") {
		return p, errors.New("it names a user, which no pattern does")
	}
	u := URL{Scheme: p.scheme, Path: "/x"}
	if err := u.address(host); err != nil {
		return p, fmt.Errorf("it %w", err)
	}
	if err := u.check(); err != nil {
		return p, fmt.Errorf("it %w; one * may be the host, or its first part", err)
	}
	p.host, p.port = u.Host, u.Port
	if wild {
		p.host = "*" + strings.TrimPrefix(u.Host, "any")
	}
	below = strings.TrimSuffix(below, "/")
	if !slash || below == "" {
		return p, nil
	}
	p.path = strings.Split(strings.TrimSuffix(below, ".git"), "/")
	for _, part := range p.path {
		if _, err := path.Match(part, ""); err != nil || part == "" || part == "." || part == ".." {
			return p, errors.New("its path is malformed")
		}
	}
	return p, nil
}

// match reports whether the URL fits; without is whether it may by a pattern without a scheme.
func (p pattern) match(u URL, without bool) bool {
	switch {
	case p.scheme == "" && !without, p.scheme != "" && p.scheme != u.Scheme:
		return false
	case p.port != "" && p.port != u.port(), p.port == "" && p.scheme != "" && u.Port != "":
		return false
	case p.host == "*":
	case strings.HasPrefix(p.host, "*."):
		if !strings.HasSuffix(u.Host, p.host[1:]) {
			return false
		}
	case p.host != u.Host:
		return false
	}
	return p.matchPath(strings.Split(u.Repository(), "/"))
}

func (p pattern) matchPath(parts []string) bool {
	for i, want := range p.path {
		if i >= len(parts) {
			return false
		}
		if want == "*" && i == len(p.path)-1 {
			return true
		}
		if ok, _ := path.Match(want, parts[i]); !ok {
			return false
		}
	}
	return len(p.path) == 0 || len(parts) == len(p.path)
}
