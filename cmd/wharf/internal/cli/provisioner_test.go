package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
	cert, key := newCertificate(t, dir, "a")
	other, _ := newCertificate(t, dir, "b")
	oidc := []string{"--image=i", "--oidc-issuer=https://login.example/realms/ci"}
	for name, c := range map[string]struct {
		args []string
		want string // in the error; empty for none
	}{
		"good":                 {args: []string{"--image=i", "--token=a=" + token}},
		"open":                 {args: []string{"--image=i", "--no-token"}},
		"everything":           {args: []string{"--image=i", "--token=a=" + token, "--listen=:5009", "--tls-cert=" + cert, "--tls-key=" + key, "--proxy=10.0.0.0/8", "--connections-per-address=-1", "--rate=-1"}},
		"no image":             {args: []string{"--no-token"}, want: "--image is missing"},
		"nobody":               {args: []string{"--image=i"}, want: "nobody could use the API: give --token"},
		"open to all":          {args: []string{"--image=i", "--no-token", "--listen=0.0.0.0:5009"}, want: "can be reached from other machines"},
		"open and not":         {args: []string{"--image=i", "--no-token", "--token=a=" + token}, want: "--no-token: there is a --token"},
		"no address":           {args: []string{"--image=i", "--no-token", "--listen=5009"}, want: `--listen "5009": must be host:port`},
		"a token without name": {args: []string{"--image=i", "--token=" + token}, want: "must be name=file"},
		"an empty token":       {args: []string{"--image=i", "--token=a=" + empty}, want: "is empty"},
		"a token twice":        {args: []string{"--image=i", "--token=a=" + token, "--token=a=" + token}, want: "is given twice"},
		"a token for two":      {args: []string{"--image=i", "--token=a=" + token, "--token=b=" + token}, want: "--token b: is the token of a too"},
		"two tokens in a file": {args: []string{"--image=i", "--token=a=" + write("two", "one\ntwo\n")}, want: "without spaces"},
		"no token file":        {args: []string{"--image=i", "--token=a=" + dir + "/none"}, want: "--token: open "},
		"no such file":         {args: []string{"--image=i", "--no-token", "--known-hosts=" + dir + "/none"}, want: "--known-hosts: "},
		"a directory":          {args: []string{"--image=i", "--no-token", "--ssh-key=" + dir}, want: "--ssh-key: read " + dir},
		"a short key":          {args: []string{"--image=i", "--no-token", "--worker-key=" + token}, want: "--worker-key: " + token + " has 7 bytes; 16 are the least"},
		"no certificate":       {args: []string{"--image=i", "--no-token", "--tls-cert=" + dir + "/none", "--tls-key=" + key}, want: "none: no such file"},
		"half a certificate":   {args: []string{"--image=i", "--no-token", "--tls-cert=" + cert}, want: "--tls-key is missing"},
		"the other half":       {args: []string{"--image=i", "--no-token", "--tls-key=" + key}, want: "--tls-cert is missing"},
		"another's key":        {args: []string{"--image=i", "--no-token", "--tls-cert=" + other, "--tls-key=" + key}, want: "private key does not match"},
		"no PEM":               {args: []string{"--image=i", "--no-token", "--tls-cert=" + token, "--tls-key=" + key}, want: "--tls-cert " + token},
		"OIDC":                 {args: append(oidc, "--oidc-audience=wharf", "--oidc-subject=a", "--token=a="+token)},
		"OIDC by claims":       {args: append(oidc, "--oidc-audience=wharf", "--oidc-claim=azp=wharf-api", "--token=a="+token)},
		"OIDC for all":         {args: append(oidc, "--oidc-audience=wharf", "--oidc-subject=*", "--token=a="+token)},
		"OIDC for nobody":      {args: append(oidc, "--oidc-audience=wharf"), want: "whoever has an account there could start builds"},
		"no audience":          {args: append(oidc, "--oidc-subject=a"), want: "--oidc-audience is missing"},
		"no issuer":            {args: []string{"--image=i", "--oidc-subject=a"}, want: "of --oidc-issuer are taken, which is missing"},
		"no URL":               {args: []string{"--image=i", "--oidc-issuer=login.example", "--oidc-audience=w", "--oidc-subject=a"}, want: "must be a URL"},
		"no TLS":               {args: []string{"--image=i", "--oidc-issuer=http://login.example", "--oidc-audience=w", "--oidc-subject=a"}, want: "must be a URL such as https://"},
		"no claim":             {args: append(oidc, "--oidc-audience=wharf", "--oidc-claim=azp"), want: "--oidc-claim \"azp\": must be name=value"},
		"no proxy":             {args: []string{"--image=i", "--no-token", "--proxy=ingress"}, want: `--proxy "ingress": must be an address or a network`},
		"no limit":             {args: []string{"--image=i", "--no-token", "--limit=0"}, want: "--limit: must be more than 0"},
		"less than nothing":    {args: []string{"--image=i", "--no-token", "--keep=-1h"}, want: "--keep: must be more than 0"},
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
			case c.want == "" && (err != nil || len(cfg.WorkerKey) < 16 || !gate.Open && gate.Tokens["a"] != "secret" || (gate.Verify != nil) != strings.HasPrefix(name, "OIDC")):
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
