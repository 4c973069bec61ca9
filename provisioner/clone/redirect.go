package clone

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// advertisement is what Git asks a server for first.
const advertisement = "/info/refs"

// following asks a server, again where it redirects to another path of its own, as after a repository was renamed.
func (c *cloner) following(ctx context.Context, ask func() error) error {
	err := ask()
	for steps := 0; reason(err) == Redirect && steps < 5; steps++ {
		if err = c.follow(ctx, err); err == nil {
			err = ask()
		}
	}
	return err
}

// follow finds out where the server redirects to, which Git does not say. If it is another server, or a path that is not allowed, that
// is the error.
func (c *cloner) follow(ctx context.Context, err error) error {
	e, _ := errors.AsType[*Error](err)
	made := *e
	to, asked := c.location(ctx)
	if asked != nil {
		return err
	}
	path, _, _ := strings.Cut(to, "?")
	target, parsed := giturl.Parse(strings.TrimSuffix(path, advertisement))
	if parsed != nil {
		made.Err = fmt.Errorf("it redirects to %s", shownLocation(to))
		return &made
	}
	made.Err = fmt.Errorf("it redirects to %s", target)
	if !strings.HasSuffix(path, advertisement) || target == c.url || target.User != "" || target.Origin() != c.url.Origin() || c.o.Policy.Check(target) != nil {
		return &made
	}
	c.out.say("the server has the repository at %s", target)
	c.url = target
	return nil
}

// shownLocation is an address that a server has sent, without what may be a credential.
func shownLocation(to string) string {
	u, err := url.Parse(to)
	if err != nil {
		return "an address that is malformed"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return clean([]byte(u.String()))
}

// location asks the server where it redirects to, without a credential.
func (c *cloner) location(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.limits.ask)
	defer cancel()
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if c.o.CAFile != "" {
		own, err := os.ReadFile(c.o.CAFile)
		if err != nil {
			return "", err
		}
		roots.AppendCertsFromPEM(own)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url.Remote()+advertisement+"?service=git-upload-pack", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req) // which follows nothing
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		return "", err
	}
	return to.String(), nil
}
