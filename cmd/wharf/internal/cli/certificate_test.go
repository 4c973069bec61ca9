package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// newCertificate makes a certificate for this machine's loopback, which is its own authority, in two files of a directory, which it replaces at once.
func newCertificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+"-cert.pem"), filepath.Join(dir, name+"-key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := errors.Join(os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// serialOf returns the serial number of the certificate that a server shows to one that would take any.
func serialOf(t *testing.T, address string, versions ...uint16) (string, error) {
	t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true}
	if len(versions) > 0 {
		cfg.MinVersion, cfg.MaxVersion = versions[0], versions[0]
	}
	d := tls.Dialer{Config: cfg}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// TestCertificate: a renewed certificate is used for the next connection, and half of one is not.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := newCertificate(t, dir, "api")
	cfg, err := certificate(cert, key, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.(*tls.Conn).HandshakeContext(context.Background()) // the client sees how it goes
			}()
		}
	}()
	see := func() string {
		t.Helper()
		serial, err := serialOf(t, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return serial
	}
	first := see()
	if again := see(); again != first {
		t.Errorf("first %s, then %s", first, again)
	}
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		if _, err := serialOf(t, l.Addr().String(), version); (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	newer, _ := newCertificate(t, dir, "newer")
	if err := os.Rename(newer, cert); err != nil { // its key is still to come
		t.Fatal(err)
	}
	if half := see(); half != first {
		t.Error("a certificate whose key is not there yet is shown")
	}
	newCertificate(t, dir, "api")
	if second := see(); second == first {
		t.Error("a certificate that was renewed is not shown")
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if kept := see(); kept == first {
		t.Error("without a file an older certificate is shown")
	}
}
