package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/cmd/wharf/internal/text"
)

// wharfAPI is how a service reaches wharf-api.
type wharfAPI struct {
	url, token, ca string
	oidc           struct {
		tokenURL, clientID, clientSecret string
		scopes                           []string
	}
}

// addTo adds its settings.
func (a *wharfAPI) addTo(f *pflag.FlagSet) {
	f.StringVar(&a.url, "wharf-api", "", "`URL` of wharf-api, such as https://wharf.example (required)")
	f.StringVar(&a.token, "wharf-api-token", "", "`file` with the bearer token for it; it is read again when it has changed")
	f.StringVar(&a.oidc.tokenURL, "oidc-token-url", "", "`URL` where an OpenID Connect provider gives tokens for it, in place of --wharf-api-token")
	f.StringVar(&a.oidc.clientID, "oidc-client-id", "", "the `client` that asks there (required with --oidc-token-url)")
	f.StringVar(&a.oidc.clientSecret, "oidc-client-secret", "", "`file` with its secret; it is read again when it has changed (required with --oidc-token-url)")
	f.StringArrayVar(&a.oidc.scopes, "oidc-scope", nil, "a `scope` that it asks for (repeatable)")
	f.StringVar(&a.ca, "wharf-api-ca", "", "`file` with further certificates of wharf-api and of the provider, in PEM")
}

// open returns the sink of the settings, or what is wrong with them. It connects to nothing.
func (a *wharfAPI) open() (sink.Sink, error) {
	var errs []error
	if a.url == "" {
		errs = append(errs, errors.New("--wharf-api is missing: the URL of wharf-api, such as https://wharf.example"))
	}
	secure, err := furtherCertificates("wharf-api-ca", a.ca)
	errs = append(errs, err)
	token, err := a.source(secure)
	errs = append(errs, err)
	if a.url == "" {
		return nil, errors.Join(errs...)
	}
	s, err := wharfapi.New(a.url, wharfapi.Options{Token: token, TLS: secure})
	if err != nil {
		errs = append(errs, fmt.Errorf("--wharf-api: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// given names a setting that is for wharf-api alone, if there is one.
func (a *wharfAPI) given() string {
	for _, s := range []struct{ name, value string }{
		{"wharf-api-token", a.token}, {"wharf-api-ca", a.ca}, {"oidc-token-url", a.oidc.tokenURL}, {"oidc-client-id", a.oidc.clientID}, {"oidc-client-secret", a.oidc.clientSecret},
	} {
		if s.value != "" {
			return s.name
		}
	}
	return ""
}

// plain reports whether a token, and all else, goes to wharf-api unencrypted over a network.
func (a *wharfAPI) plain() bool {
	return (a.token != "" || a.oidc.tokenURL != "") && unencrypted(a.url)
}

// unencrypted reports whether a URL leads to another machine without TLS.
func unencrypted(at string) bool {
	u, err := url.Parse(at)
	return err == nil && u.Scheme == "http" && !loopback(u.Host) && !loopback(u.Host+":80")
}

// source is where tokens come from; nil if none is shown.
func (a *wharfAPI) source(secure *tls.Config) (oauth2.TokenSource, error) {
	o := &a.oidc
	switch {
	case o.tokenURL == "" && (o.clientID != "" || o.clientSecret != "" || len(o.scopes) > 0):
		return nil, errors.New("--oidc-client-id, --oidc-client-secret and --oidc-scope are for --oidc-token-url, which is missing")
	case o.tokenURL != "" && a.token != "":
		return nil, errors.New("--wharf-api-token: there is --oidc-token-url too; give one of them")
	case o.tokenURL == "" && a.token == "":
		return nil, nil
	case a.token != "":
		file, err := openSecret("wharf-api-token", a.token)
		if err != nil {
			return nil, err
		}
		return file, nil
	}
	var errs []error
	if u, err := url.Parse(o.tokenURL); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || unencrypted(o.tokenURL)) {
		errs = append(errs, fmt.Errorf("--oidc-token-url %q: must be a URL such as https://login.example/realms/ci/protocol/openid-connect/token", o.tokenURL))
	}
	if o.clientID == "" {
		errs = append(errs, errors.New("--oidc-client-id is missing: the client that --oidc-token-url knows"))
	}
	if o.clientSecret == "" {
		return nil, errors.Join(append(errs, errors.New("--oidc-client-secret is missing: the file with the secret of --oidc-client-id"))...)
	}
	secret, err := openSecret("oidc-client-secret", o.clientSecret)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secure.Clone()
	return oauth2.ReuseTokenSource(nil, &clientTokens{
		config: clientcredentials.Config{ClientID: o.clientID, TokenURL: o.tokenURL, Scopes: o.scopes},
		secret: secret, client: &http.Client{Transport: transport, Timeout: tokenBound, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // it would carry the secret elsewhere
		}},
	}), nil
}

// tokenBound is how long a provider may take for a token: everything waits for that.
const tokenBound = 10 * time.Second

// clientTokens are the tokens of a client, each got with the secret of the moment. It is used by one goroutine at a time.
type clientTokens struct {
	config clientcredentials.Config
	secret *secretFile
	client *http.Client
}

// Token gets one.
func (c *clientTokens) Token() (*oauth2.Token, error) {
	c.config.ClientSecret = c.secret.get()
	t, err := c.config.Token(context.WithValue(context.Background(), oauth2.HTTPClient, c.client))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) { // its own words would hold the whole page that was answered
		err = fmt.Errorf("%s answers %s %s", c.config.TokenURL, refused.Response.Status, text.Line(cmp.Or(refused.ErrorDescription, refused.ErrorCode)))
	}
	return t, err
}
