package docker

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestResolveHost(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_HOST", "")
	t.Setenv("DOCKER_CONTEXT", "")
	t.Setenv("DOCKER_CONFIG", dir)
	want := func(configured, address string) {
		t.Helper()
		h, err := resolveHost(configured)
		if err != nil || h.address != address {
			t.Errorf("%q resolves to %q, %v; want %q", configured, h.address, err, address)
		}
	}
	want("tcp://configured:1", "tcp://configured:1")
	want("", "unix://"+defaultSocket)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", `{"currentContext": "mine"}`)
	if _, err := resolveHost(""); err == nil {
		t.Error("a context that is not there is accepted")
	}
	write("contexts/meta/"+fmt.Sprintf("%x", sha256.Sum256([]byte("mine")))+"/meta.json", `{"Endpoints": {"docker": {"Host": "unix:///context.sock"}}}`)
	want("", "unix:///context.sock")
	refused := func(what string) {
		t.Helper()
		if h, err := resolveHost(""); err == nil || !strings.Contains(err.Error(), "DOCKER_CERT_PATH") {
			t.Errorf("%s resolves to %q, %v: without TLS", what, h.address, err)
		}
	}
	tls := fmt.Sprintf("%x", sha256.Sum256([]byte("tls")))
	write("contexts/meta/"+tls+"/meta.json", `{"Endpoints": {"docker": {"Host": "tcp://far:2376"}}}`)
	t.Setenv("DOCKER_CONTEXT", "tls")
	want("", "tcp://far:2376")
	write("contexts/tls/"+tls+"/docker/ca.pem", "")
	refused("a context with certificates")
	t.Setenv("DOCKER_HOST", "tcp://far:2376")
	want("", "tcp://far:2376")
	t.Setenv("DOCKER_TLS_VERIFY", "1")
	t.Setenv("DOCKER_CERT_PATH", "")
	refused("a host to be verified")
	t.Setenv("DOCKER_HOST", "unix:///environment.sock")
	want("", "unix:///environment.sock")
	for _, bad := range []string{"nonsense", "ssh://host", "unix://", "ftp://x"} {
		if _, err := New(Config{Host: bad}); err == nil {
			t.Errorf("the host %q is accepted", bad)
		}
	}
}

func TestValidHost(t *testing.T) {
	for address, valid := range map[string]bool{
		"unix:///run/d.sock": true, "tcp://far:2376": true, "tcp://[::1]:2376": true, "https://far/docker": true,
		"tcp://far": false, "tcp://far:": false, "tcp://[::1]": false, "far:2376": false, "ssh://far": false, "udp://far:1": false,
	} {
		if err := validHost(address); (err == nil) != valid || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v, want valid %t", address, err, valid)
		}
	}
}
