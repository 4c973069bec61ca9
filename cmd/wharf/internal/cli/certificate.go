package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// certificate returns the configuration of a server with the certificate of --tls-cert and --tls-key, if there is one. The files are read again when they have changed.
func certificate(cert, key string, log hclog.Logger) (*tls.Config, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "":
		return nil, errors.New("--tls-cert is missing: the certificate of --tls-key")
	case key == "":
		return nil, errors.New("--tls-key is missing: the key of --tls-cert")
	}
	r := &renewed{cert: cert, key: key, log: log}
	if err := r.read(r.look()); err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: r.get, MinVersion: tls.VersionTLS12}, nil
}

// renewed is a certificate whose files others renew.
type renewed struct {
	cert, key string
	log       hclog.Logger

	mu   sync.Mutex
	pair *tls.Certificate
	seen [2]fs.FileInfo // of what was read last
}

// look returns what the files are now; nil for one that is not there.
func (r *renewed) look() (now [2]fs.FileInfo) {
	for i, path := range []string{r.cert, r.key} {
		now[i], _ = os.Stat(path) // reading it says why
	}
	return now
}

// read reads the files.
func (r *renewed) read(now [2]fs.FileInfo) error {
	r.seen = now
	pair, err := tls.LoadX509KeyPair(r.cert, r.key)
	if err != nil {
		return fmt.Errorf("--tls-cert %s, --tls-key %s: %w", r.cert, r.key, err)
	}
	r.pair = &pair
	return nil
}

// get returns the certificate for a connection. One that cannot be read, such as one that is half renewed, does not take the place of the last.
func (r *renewed) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.look(); !same(now[0], r.seen[0]) || !same(now[1], r.seen[1]) {
		if err := r.read(now); err != nil {
			r.log.Warn("the certificate has changed and cannot be used; the last one stays", "error", err)
		} else {
			r.log.Info("the certificate was renewed", "until", r.pair.Leaf.NotAfter)
		}
	}
	return r.pair, nil
}

func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
