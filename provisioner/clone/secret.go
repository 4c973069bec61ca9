package clone

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/wharfci/wharf/provisioner/giturl"
	"github.com/wharfci/wharf/worker/mask"
)

// secret is what the clone shows to the server.
type secret struct {
	user, token string // of HTTP
	hidden      bool   // the user is a secret too
	key         []byte // of SSH
}

// mask hides the secret as it is, and as URLs and HTTP have it.
func (s secret) mask() *mask.Secrets {
	hidden := []string{s.token, string(s.key)}
	if s.hidden {
		hidden = append(hidden, s.user, url.QueryEscape(s.user), url.PathEscape(s.user))
	}
	if s.token != "" {
		hidden = append(hidden, url.QueryEscape(s.token), url.PathEscape(s.token), base64.StdEncoding.EncodeToString([]byte(s.user+":"+s.token)))
	}
	for _, name := range inherited { // a proxy's password
		if u, err := url.Parse(os.Getenv(name)); err == nil && u.User != nil {
			if password, set := u.User.Password(); set {
				hidden = append(hidden, password, url.PathEscape(password))
			}
		}
	}
	return mask.New(hidden...)
}

// largest is more than any token or key has.
const largest = 64 << 10

// readSecret reads the token or the key, and puts the user where Git takes it.
func (c *cloner) readSecret() error {
	if err := c.readUser(); err != nil {
		return invalid(fmt.Errorf("the file with the user: %w", err))
	}
	var content []byte
	var err error
	if c.o.TokenFile != "" {
		if c.o.TokenFile, err = filepath.Abs(c.o.TokenFile); err == nil {
			content, err = readSmall(c.o.TokenFile)
		}
		if err != nil {
			return invalid(fmt.Errorf("the file with the token: %w", err))
		}
	}
	if c.url.Scheme != giturl.SSH {
		return errors.Join(c.setToken(content), c.keyFromFile())
	}
	c.url.User = first(c.url.User, c.o.User, "git")
	return c.setKey(content)
}

// readUser takes the user out of its file.
func (c *cloner) readUser() (err error) {
	if c.o.UserFile == "" {
		return nil
	}
	if c.o.User != "" {
		return errors.New("there is a user besides: give one")
	}
	if c.o.UserFile, err = filepath.Abs(c.o.UserFile); err != nil {
		return err
	}
	content, err := readSmall(c.o.UserFile)
	c.o.User, c.secret.hidden = strings.TrimSpace(string(content)), true
	if err == nil && c.o.User == "" {
		err = errors.New("it is empty")
	}
	return err
}

func (c *cloner) setToken(content []byte) error {
	c.secret.user, c.url.User = first(c.o.User, c.url.User, "oauth2"), ""
	if c.o.TokenFile == "" {
		return nil
	}
	token := strings.TrimSpace(string(content))
	switch {
	case isKey(content):
		return invalid(errors.New("the file with the token holds a private key, which is for an SSH URL"))
	case token == "":
		return invalid(errors.New("the file with the token is empty"))
	case strings.ContainsFunc(token+c.secret.user, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid(errors.New("a user and a token consist of one line without control characters"))
	}
	c.secret.token = token
	return nil
}

// keyFromFile reads the key that has a file of its own.
func (c *cloner) keyFromFile() error {
	if c.o.SSHKeyFile == "" {
		return nil
	}
	content, err := readSmall(c.o.SSHKeyFile)
	if err != nil {
		return invalid(fmt.Errorf("the file with the SSH key: %w", err))
	}
	if !isKey(content) {
		return invalid(errors.New("the file with the SSH key holds no private key"))
	}
	c.secret.key = tidy(content)
	return nil
}

// tidy makes of a key, as someone may have pasted it, what ssh insists on.
func tidy(key []byte) []byte {
	return append(bytes.TrimSpace(bytes.ReplaceAll(key, []byte("\r\n"), []byte("\n"))), '\n')
}

// setKey takes the key for an SSH URL: from the file of the token, or from its own.
func (c *cloner) setKey(content []byte) error {
	if err := c.keyFromFile(); err != nil {
		return err
	}
	switch {
	case c.o.TokenFile != "" && !isKey(content):
		return invalid(errors.New("the file with the token holds no private key, which an SSH URL needs; a token is for https"))
	case c.o.TokenFile != "" && c.o.SSHKeyFile != "":
		return invalid(errors.New("there are two private keys: give one"))
	case c.o.TokenFile != "":
		c.secret.key = tidy(content)
	case c.o.SSHKeyFile == "":
		return &Error{Reason: PublicKey, Err: errors.New("no private key is given for an SSH URL")}
	}
	if c.o.KnownHostsFile == "" {
		return &Error{Reason: HostKey, Err: errors.New("no file with known hosts is given for an SSH URL")}
	}
	return nil
}

func isKey(content []byte) bool {
	return bytes.Contains(content, []byte("-----BEGIN ")) && bytes.Contains(content, []byte("PRIVATE KEY-----"))
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err == nil && len(content) > largest {
		err = fmt.Errorf("%s has more than %d bytes", path, largest)
	}
	return content, err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// dropTokens removes the files of token and user, and what links that they are lead to. That one cannot be, such as where a secret is mounted
// read-only, stops nothing.
func (c *cloner) dropTokens() {
	for _, path := range []string{c.o.TokenFile, c.o.UserFile} {
		if path == "" || c.o.KeepToken {
			continue
		}
		target, err := filepath.EvalSymlinks(path)
		if err == nil {
			_ = os.Truncate(target, 0) // should its name stay
			err = os.Remove(target)
		}
		if target != path && err == nil {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			c.out.say("the file %s with a secret stays: %v", filepath.Base(path), err)
		}
	}
}
