package endtoend

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/wharfci/wharf/provisioner"
)

// keyPair makes a key: the private half as ssh takes it, and what signs with it.
func keyPair(t testing.TB) (string, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), signer
}

// sshServer serves the repositories by SSH, where containers reach it, to who has a key. It returns its address.
func (s *system) sshServer(host ssh.Signer, user ssh.PublicKey) string {
	s.t.Helper()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(user.Marshal()) {
			return nil, fmt.Errorf("not you")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l := listen(s.t)
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go s.welcome(raw, config)
		}
	}()
	return l.Addr().String()
}

// welcome serves one connection.
func (s *system) welcome(raw net.Conn, config *ssh.ServerConfig) {
	defer raw.Close()
	conn, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for c := range channels {
		if channel, requests, err := c.Accept(); err == nil {
			s.session(channel, requests)
		}
	}
}

// session runs the one command that the server knows.
func (s *system) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		if r.Type != "exec" {
			r.Reply(false, nil)
			continue
		}
		r.Reply(true, nil)
		var command struct{ Text string }
		_ = ssh.Unmarshal(r.Payload, &command) // what is no command is empty
		path, _ := strings.CutPrefix(command.Text, "git-upload-pack '")
		status := s.uploadPack(channel, filepath.Join(s.repos, filepath.Clean("/"+strings.TrimSuffix(path, "'"))))
		channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

// uploadPack has Git give what is in a repository, and returns the exit code.
func (s *system) uploadPack(channel ssh.Channel, dir string) uint32 {
	cmd := exec.Command("git", "-c", "safe.directory=*", "upload-pack", dir)
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 1
	}
	go func() {
		io.Copy(in, channel)
		in.Close()
	}()
	if cmd.Wait() != nil {
		return 128
	}
	return 0
}

// TestSSH clones by SSH with a key that comes as GIT_TOKEN, from a server whose key is known; and not from one that shows another key.
func TestSSH(t *testing.T) {
	s := prepare(t)
	userKey, user := keyPair(t)
	otherKey, _ := keyPair(t)
	_, host := keyPair(t)
	_, impostor := keyPair(t)
	honest, wrong := s.sshServer(host, user.PublicKey()), s.sshServer(impostor, user.PublicKey())
	line := func(address string) string {
		name, port, _ := net.SplitHostPort(address)
		return fmt.Sprintf("[%s]:%s %s", name, port, ssh.MarshalAuthorizedKey(host.PublicKey()))
	}
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(line(honest)+line(wrong)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := s.provisioner("--known-hosts=" + known)
	t.Cleanup(s.empty)
	commit := s.repository("shop", "main", greeting)
	cases := []struct {
		server, key string
		state       provisioner.State
		reason      string
	}{
		{honest, userKey, provisioner.Succeeded, ""},
		{wrong, userKey, provisioner.Failed, "host key"},
		{honest, otherKey, provisioner.Failed, "does not accept the key"},
		{honest, "a-token-for-https", provisioner.Failed, "no private key"},
	}
	ids := make([]string, len(cases))
	for i, c := range cases {
		ids[i] = p.trigger(30+i, "shop", "main", "GIT_FULLURL", "ssh://git@"+c.server+"/shop.git", "GIT_TOKEN", c.key).ID
	}
	for i, c := range cases {
		w := p.until(ids[i], c.state)
		if !strings.Contains(w.Reason, c.reason) || c.state == provisioner.Succeeded && w.Commit != commit {
			t.Errorf("%d: the worker has built %q; the reason is %q; want %q", i, w.Commit, w.Reason, c.reason)
		}
	}
	if removed, err := p.client.Prune(t.Context(), 0); err != nil || len(removed) != 4 {
		t.Errorf("pruned were %v, %v", removed, err)
	}
	if text := p.stop(); strings.Contains(text, "PRIVATE KEY") {
		t.Errorf("the provisioner tells a key:\n%s", text)
	}
}
