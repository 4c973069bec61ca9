package cli

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/spf13/pflag"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

// newAPI starts a wharf-api, which wants a token if that is not empty.
func newAPI(t *testing.T, token string) *wharfapitest.Server {
	t.Helper()
	api, err := wharfapitest.Start(wharfapitest.Options{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// openAPI opens a sink by its flags.
func openAPI(t *testing.T, args ...string) sink.Sink {
	t.Helper()
	var a wharfAPI
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	a.addTo(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	s, err := a.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// renew puts another file in the place of one, as those do that renew secrets.
func renew(t *testing.T, path, text string) {
	t.Helper()
	next := path + ".next"
	err := os.WriteFile(next, []byte(text), 0o600)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A token that is renewed is shown from then on, and one that cannot be read does not take its place.
func TestWharfAPIToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	renew(t, path, "one\n")
	api := newAPI(t, "two")
	s := openAPI(t, "--wharf-api", api.URL(), "--wharf-api-token", path)
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a wrong token is taken")
	}
	renew(t, path, "two\n")
	for _, next := range []string{"", "two words", "two"} {
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("before there is %q: %v", next, err)
		}
		renew(t, path, next)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("without the file: %v", err)
	}
}

// Tokens of OpenID Connect are got with the client's secret of the moment, once for as long as they last.
func TestWharfAPIClientCredentials(t *testing.T) {
	var asked atomic.Int32
	lasts := 1 // second, which is too short to be used again
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "wharf" || password != "new" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "a b" {
			http.Error(w, `{"error": "invalid_client"}`, http.StatusUnauthorized)
			return
		}
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "good", "token_type": "bearer", "expires_in": lasts})
	}))
	defer login.Close()
	path := filepath.Join(t.TempDir(), "secret")
	renew(t, path, "old")
	api := newAPI(t, "good")
	s := openAPI(t, "--wharf-api", api.URL(), "--oidc-token-url", login.URL, "--oidc-client-id=wharf", "--oidc-client-secret", path, "--oidc-scope=a", "--oidc-scope=b")
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a wrong secret is taken")
	}
	renew(t, path, "new")
	for _, want := range []int32{1, 2, 3, 3, 3} {
		if asked.Load() == 2 {
			lasts = 3600
		}
		if err := s.Ready(t.Context()); err != nil || asked.Load() != want {
			t.Errorf("%d tokens were got, and should be %d: %v", asked.Load(), want, err)
		}
	}
}

// A certificate of a file is trusted.
func TestWharfAPICertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := newCertificate(t, dir, "api")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	api, err := wharfapitest.Start(wharfapitest.Options{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if err := openAPI(t, "--wharf-api", api.URL()).Ready(t.Context()); err == nil {
		t.Error("a strange certificate is trusted")
	}
	if err := openAPI(t, "--wharf-api", api.URL(), "--wharf-api-ca", cert).Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
