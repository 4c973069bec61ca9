//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// secrets are the keys and tokens of a cluster. They live as long as it does.
type secrets struct {
	ca          *x509.Certificate
	key         *ecdsa.PrivateKey
	authority   []byte // the certificate of ca, as a file has it
	admin, node string // tokens
}

// makeSecrets writes what the programs need to trust each other.
func (c *cluster) makeSecrets() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "withkubernetes"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	c.secret = secrets{ca: ca, key: key, admin: rand.Text(), node: rand.Text()}
	if c.secret.authority, err = c.certificate(ca, key); err != nil {
		return err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(nodeIP), net.ParseIP("10.78.0.1")},
	}
	return errors.Join(
		os.WriteFile(c.path("ca.crt"), c.secret.authority, 0o600),
		c.pair("apiserver", server),
		c.pair("client", &x509.Certificate{Subject: pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}}}),
		c.pair("kubelet", &x509.Certificate{Subject: pkix.Name{CommonName: "system:node:" + node}, DNSNames: []string{node}, IPAddresses: []net.IP{net.ParseIP(nodeIP)}}),
		writeKey(c.path("accounts.key"), accounts),
		os.WriteFile(c.path("tokens.csv"), []byte(c.secret.admin+",admin,admin,system:masters\n"+c.secret.node+",system:node:"+node+",node,system:nodes\n"), 0o600),
	)
}

// pair writes a key and its certificate.
func (c *cluster) pair(name string, of *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	of.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	of.KeyUsage = x509.KeyUsageDigitalSignature
	cert, err := c.certificate(of, key)
	return errors.Join(err, os.WriteFile(c.path(name+".crt"), cert, 0o600), writeKey(c.path(name+".key"), key))
}

// certificate signs by the cluster's authority.
func (c *cluster) certificate(of *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	of.SerialNumber = serial
	of.NotBefore, of.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, of, c.secret.ca, &key.PublicKey, c.secret.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
