package cli

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// TestVerifier checks tokens of a provider that the test plays.
func TestVerifier(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	issuer := httptest.NewServer(mux)
	defer issuer.Close()
	answer := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v)
		})
	}
	answer("/.well-known/openid-configuration", map[string]any{
		"issuer": issuer.URL, "jwks_uri": issuer.URL + "/keys", "authorization_endpoint": issuer.URL + "/a", "token_endpoint": issuer.URL + "/t", "id_token_signing_alg_values_supported": []string{"RS256"},
	})
	answer("/keys", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
	token := func(key *rsa.PrivateKey, c jwt.Claims) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(s).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := jwt.Claims{Issuer: issuer.URL, Subject: "wharf-api", Audience: jwt.Audience{"wharf"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}
	late, elsewhere, stranger := good, good, good
	late.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Hour))
	elsewhere.Audience = jwt.Audience{"another"}
	stranger.Issuer = "https://other.example"
	verify := verifier(issuer.URL, "wharf")
	if subject, err := verify(t.Context(), token(key, good)); err != nil || subject != "wharf-api" {
		t.Errorf("a good token is of %q, %v", subject, err)
	}
	for name, text := range map[string]string{
		"expired": token(key, late), "for another": token(key, elsewhere), "of another issuer": token(key, stranger), "of another key": token(other, good), "no token": "x",
	} {
		if subject, err := verify(t.Context(), text); err == nil {
			t.Errorf("a token that is %s is taken for that of %q", name, subject)
		}
	}
	issuer.Close()
	if _, err := verifier(issuer.URL, "wharf")(t.Context(), token(key, good)); err == nil {
		t.Error("a token is taken although its issuer cannot be asked")
	}
}

func TestProvisionerSettings(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, empty := write("token", "secret\n"), write("empty", "\n")
	for name, c := range map[string]struct {
		args []string
		want string // in the error; empty for none
	}{
		"good":                 {args: []string{"--image=i", "--token=a=" + token}},
		"open":                 {args: []string{"--image=i", "--no-token"}},
		"no image":             {args: []string{"--no-token"}, want: "--image is missing"},
		"nobody":               {args: []string{"--image=i"}, want: "nobody could use the API"},
		"open to all":          {args: []string{"--image=i", "--no-token", "--listen=0.0.0.0:5009"}, want: "can be reached from other machines"},
		"a token without name": {args: []string{"--image=i", "--token=" + token}, want: "must be name=file"},
		"an empty token":       {args: []string{"--image=i", "--token=a=" + empty}, want: "is empty"},
		"no such file":         {args: []string{"--image=i", "--no-token", "--known-hosts=" + dir + "/none"}, want: "--known-hosts: "},
		"half of OIDC":         {args: []string{"--image=i", "--oidc-issuer=https://x"}, want: "go together"},
		"a wrong pattern":      {args: []string{"--image=i", "--no-token", "--allow=file:///etc"}, want: "--allow: "},
	} {
		t.Run(name, func(t *testing.T) {
			var p provisioning
			cmd := p.command()
			if err := cmd.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			cfg, gate, _, err := p.settle()
			switch {
			case c.want == "" && (err != nil || len(cfg.WorkerKey) < 16 || !gate.Open && gate.Tokens["a"] != "secret"):
				t.Errorf("%+v, %v", gate, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v; want %q", err, c.want)
			}
		})
	}
	one, err := keptKey()
	if err != nil {
		t.Fatal(err)
	}
	if two, err := keptKey(); err != nil || string(two) != string(one) {
		t.Errorf("the workers' key is %q and then %q, %v", one, two, err)
	}
}
