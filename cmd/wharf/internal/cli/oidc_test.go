package cli

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wharfci/wharf/provisioner"
)

// login is an OpenID Connect provider.
type login struct {
	*httptest.Server
	t     *testing.T
	key   *rsa.PrivateKey
	asked atomic.Int32
}

func newLogin(t *testing.T) *login {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	l := &login{Server: httptest.NewServer(mux), t: t, key: key}
	t.Cleanup(l.Close)
	answer := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			l.asked.Add(1)
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v)
		})
	}
	answer("/.well-known/openid-configuration", map[string]any{
		"issuer": l.URL, "jwks_uri": l.URL + "/keys", "authorization_endpoint": l.URL + "/a", "token_endpoint": l.URL + "/t", "id_token_signing_alg_values_supported": []string{"RS256"},
	})
	answer("/keys", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
	return l
}

// token signs one; claims take the place of what a good one has.
func (l *login) token(key *rsa.PrivateKey, claims map[string]any) string {
	l.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	all := map[string]any{"iss": l.URL, "sub": "wharf-api", "aud": "wharf", "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		if all[name] = v; v == nil {
			delete(all, name)
		}
	}
	text, err := jwt.Signed(s).Claims(all).Serialize()
	if err != nil {
		l.t.Fatal(err)
	}
	return text
}

func (l *login) issuer(subjects, claims []string) *issuer {
	return &issuer{rules: oidcRules{issuer: l.URL, audience: "wharf", subjects: subjects, claims: claims}}
}

func TestOIDC(t *testing.T) {
	l := newLogin(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	verify := l.issuer([]string{"wharf-api"}, nil).verify
	if subject, err := verify(t.Context(), l.token(l.key, nil)); err != nil || subject != "wharf-api" {
		t.Errorf("a good token is of %q, %v", subject, err)
	}
	for name, text := range map[string]string{
		"expired":           l.token(l.key, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"for another":       l.token(l.key, map[string]any{"aud": []string{"another"}}),
		"of another issuer": l.token(l.key, map[string]any{"iss": "https://other.example"}),
		"of nobody":         l.token(l.key, map[string]any{"sub": nil}),
		"of another key":    l.token(other, nil),
		"no token":          "x",
		"not signed":        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3aGFyZi1hcGkifQ.",
	} {
		if subject, err := verify(t.Context(), text); err == nil || subject != "" || errors.Is(err, provisioner.ErrNotAllowed) || errdefs.IsUnavailable(err) {
			t.Errorf("a token that is %s is taken for that of %q, %v", name, subject, err)
		}
	}
	subject, err := verify(t.Context(), l.token(l.key, map[string]any{"sub": "somebody"}))
	if !errors.Is(err, provisioner.ErrNotAllowed) || subject != "somebody" {
		t.Errorf("another subject is %q, %v", subject, err)
	}
}

// TestOIDCRules has what the tokens of some providers look like.
func TestOIDCRules(t *testing.T) {
	keycloak := map[string]any{"sub": "8f2c-4d", "azp": "wharf-api", "realm_access": map[string]any{"roles": []string{"offline_access", "ci"}}, "email_verified": true}
	entra := map[string]any{"sub": "x9", "appid": "11-22", "roles": []string{"Builds.Start"}, "oid": "33-44", "ver": "2.0", "xms_tdbr": 7}
	github := map[string]any{"sub": "repo:wharfci/shop:ref:refs/heads/main", "repository": "wharfci/shop", "repository_owner": "wharfci", "run_attempt": "1"}
	auth0 := map[string]any{"sub": "auth0|1", "https://ci.example/roles": []string{"ci"}}
	l := newLogin(t)
	for name, c := range map[string]struct {
		token            map[string]any
		subjects, claims []string
		want             bool
	}{
		"a subject":                {keycloak, []string{"other", "8f2c-4d"}, nil, true},
		"no part of one":           {keycloak, []string{"8f2c"}, nil, false},
		"a client":                 {keycloak, nil, []string{"azp=wharf-api"}, true},
		"another client":           {keycloak, nil, []string{"azp=wharf"}, false},
		"a role":                   {keycloak, nil, []string{"realm_access.roles=ci"}, true},
		"another role":             {keycloak, nil, []string{"realm_access.roles=admin"}, false},
		"one of two roles":         {keycloak, nil, []string{"realm_access.roles=admin", "realm_access.roles=ci"}, true},
		"two claims":               {keycloak, nil, []string{"realm_access.roles=ci", "azp=wharf-api"}, true},
		"one of two claims":        {keycloak, nil, []string{"realm_access.roles=ci", "azp=other"}, false},
		"subject and claim":        {keycloak, []string{"8f2c-4d"}, []string{"azp=wharf-api"}, true},
		"the claim alone":          {keycloak, []string{"other"}, []string{"azp=wharf-api"}, false},
		"true":                     {keycloak, nil, []string{"email_verified=true"}, true},
		"no such claim":            {keycloak, nil, []string{"groups=*"}, false},
		"an object":                {keycloak, nil, []string{"realm_access=*"}, false},
		"an application":           {entra, nil, []string{"appid=11-22"}, true},
		"an application's role":    {entra, nil, []string{"roles=Builds.*"}, true},
		"a number":                 {entra, nil, []string{"xms_tdbr=7"}, true},
		"a branch":                 {github, []string{"repo:wharfci/shop:ref:refs/heads/main"}, nil, true},
		"a repository":             {github, []string{"repo:wharfci/shop:*"}, nil, true},
		"any branch of any":        {github, []string{"repo:wharfci/*:ref:refs/heads/*"}, nil, true},
		"one that begins the same": {github, []string{"repo:wharfci/sho:*"}, nil, false},
		"another branch":           {github, []string{"repo:wharfci/*:ref:refs/heads/release"}, nil, false},
		"an owner":                 {github, nil, []string{"repository_owner=wharfci"}, true},
		"a name with dots":         {auth0, nil, []string{"https://ci.example/roles=ci"}, true},
		"everybody":                {auth0, []string{"*"}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.issuer(c.subjects, c.claims).verify(t.Context(), l.token(l.key, c.token))
			if (err == nil) != c.want || err != nil && !errors.Is(err, provisioner.ErrNotAllowed) {
				t.Errorf("%v; want %v", err, c.want)
			}
		})
	}
}

// TestOIDCAway: a provider that does not answer is no reason to call a token wrong, and is not asked for each.
func TestOIDCAway(t *testing.T) {
	l := newLogin(t)
	good := l.token(l.key, nil)
	known := l.issuer([]string{"*"}, nil)
	if _, err := known.verify(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	asked := l.asked.Load()
	for range 5 {
		if _, err := known.verify(t.Context(), good); err != nil {
			t.Error(err)
		}
		if _, err := known.verify(t.Context(), "no token of theirs"); err == nil {
			t.Error("it is taken")
		}
	}
	if n := l.asked.Load() - asked; n > 0 {
		t.Errorf("the provider was asked %d times for keys that are known", n)
	}
	l.Close()
	if _, err := known.verify(t.Context(), good); err != nil {
		t.Errorf("its keys are known: %v", err)
	}
	if _, err := l.issuer([]string{"*"}, nil).verify(t.Context(), good); !errdefs.IsUnavailable(err) {
		t.Errorf("a provider that was never reached: %v", err)
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"*", "", true}, {"*", "a", true}, {"**", "a", true}, {"a*", "a", true}, {"*a", "ba", true}, {"a*a", "a", false}, {"a*a", "aa", true},
		{"a*b*c", "abbc", true}, {"a*b*c", "acb", false}, {"a*bb*b", "abb", false}, {"?", "a", false}, {"[a]", "a", false}, {"a*", "b/a", false},
	} {
		if got := fits(c.pattern, c.text); got != c.want {
			t.Errorf("%q fits %q: %v", c.pattern, c.text, got)
		}
	}
}
