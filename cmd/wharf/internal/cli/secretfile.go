package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/oauth2"
)

// secretFile is a file with a token or a secret that others renew: it is read again when it has changed. It may be used by many goroutines at once.
type secretFile struct {
	path string

	mu   sync.Mutex
	word string
	seen fs.FileInfo // of what was read last
}

// openSecret reads the file that a flag names.
func openSecret(flag, path string) (*secretFile, error) {
	s := &secretFile{path: path}
	if err := s.read(); err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return s, nil
}

// read reads the file. What it was before stays if it cannot be used.
func (s *secretFile) read() error {
	seen, err := os.Stat(s.path) // before it is read: what changes then is seen the next time
	if err != nil {
		return err
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	word := strings.TrimSpace(string(text))
	if word == "" {
		return fmt.Errorf("%s is empty", s.path)
	}
	if strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s: must be one word of printable ASCII characters", s.path)
	}
	s.word, s.seen = word, seen
	return nil
}

// get returns what the file has. One that is gone, or half renewed, does not take the place of the last.
func (s *secretFile) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, err := os.Stat(s.path); err == nil && !same(now, s.seen) {
		_ = s.read() // whoever is shown the old one says what is wrong with it
	}
	return s.word
}

// Token returns it as a bearer token; see [oauth2.TokenSource].
func (s *secretFile) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: s.get()}, nil
}

// furtherCertificates is the configuration of a client that trusts the certificates of a file beside those of the system; nil without a file.
func furtherCertificates(flag, path string) (*tls.Config, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--%s: %s has no certificate in PEM", flag, path)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}
