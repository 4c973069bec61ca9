package clone

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// key makes a key: the private half as ssh takes it, and a signer.
func key(t testing.TB) (string, ssh.Signer) {
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

// knownHosts is a line as ssh-keyscan prints it.
func knownHosts(address string, key ssh.PublicKey) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(key))
}

// sshServer serves the repositories by SSH to user git with a key.
func (h *host) sshServer(hostKey ssh.Signer, user ssh.PublicKey) (address string) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if conn.User() != "git" || string(key.Marshal()) != string(user.Marshal()) {
			return nil, fmt.Errorf("not you")
		}
		return nil, nil
	}}
	config.AddHostKey(hostKey)
	return listen(h.t, func(raw net.Conn) {
		conn, channels, requests, err := ssh.NewServerConn(raw, config)
		if err != nil {
			return
		}
		defer conn.Close()
		go ssh.DiscardRequests(requests)
		for c := range channels {
			if channel, requests, err := c.Accept(); err == nil {
				h.session(channel, requests)
			}
		}
	})
}

// session runs the one command that the server knows.
func (h *host) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		if r.Type != "exec" {
			r.Reply(false, nil)
			continue
		}
		r.Reply(true, nil)
		var command struct{ Text string }
		_ = ssh.Unmarshal(r.Payload, &command)
		path, ok := strings.CutPrefix(command.Text, "git-upload-pack '")
		status := uint32(128)
		if dir := filepath.Join(h.root, strings.TrimSuffix(path, "'")); ok && exists(dir) {
			cmd := exec.Command("git", "-c", "safe.directory=*", "upload-pack", dir)
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			in, err := cmd.StdinPipe()
			if err == nil && cmd.Start() == nil {
				go func() {
					io.Copy(in, channel)
					in.Close()
				}()
				if cmd.Wait() == nil {
					status = 0
				}
			}
		} else {
			fmt.Fprintln(channel.Stderr(), "ERROR: Repository not found.")
		}
		channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
	io.Copy(io.Discard, channel)
}

func TestSSH(t *testing.T) {
	h, commits := history(t)
	userKey, user := key(t)
	_, hostKey := key(t)
	address := h.sshServer(hostKey, user.PublicKey())
	known := write(t, knownHosts(address, hostKey.PublicKey()))
	o := Options{URL: "ssh://git@" + address + "/group/name.git", Branch: "main", KnownHostsFile: known}

	crlf := o // a key as someone has pasted it
	crlf.SSHKeyFile = write(t, strings.TrimSpace(strings.ReplaceAll(userKey, "\n", "\r\n")))
	if r, dir := must(t, crlf); r.Commit != commits[4] || !exists(crlf.SSHKeyFile) || strings.Contains(read(t, dir, ".git/config"), "IdentityFile") {
		t.Errorf("%+v", r)
	}
	asToken := o
	asToken.URL, asToken.TokenFile, asToken.Commit = "ssh://"+address+"/group/name.git", write(t, userKey), commits[1]
	if r, _ := must(t, asToken); r.Commit != commits[1] || exists(asToken.TokenFile) {
		t.Errorf("%+v, or the key stays", r)
	}

	fails(t, o, PublicKey, "no private key is given")
	o.SSHKeyFile = write(t, userKey)
	for _, change := range []func(*Options) (Reason, string){
		func(o *Options) (Reason, string) { o.KnownHostsFile = ""; return HostKey, "ssh-keyscan" },
		func(o *Options) (Reason, string) { o.KnownHostsFile = write(t, ""); return HostKey, "ssh-keyscan" },
		func(o *Options) (Reason, string) {
			_, other := key(t)
			o.KnownHostsFile = write(t, knownHosts(address, other.PublicKey()))
			return HostKey, "someone may be in between"
		},
		func(o *Options) (Reason, string) { o.KnownHostsFile = "/nonexistent"; return Invalid, "/nonexistent" },
		func(o *Options) (Reason, string) {
			other, _ := key(t)
			o.SSHKeyFile = write(t, other)
			return PublicKey, "deploy key"
		},
		func(o *Options) (Reason, string) {
			o.SSHKeyFile = write(t, "-----BEGIN OPENSSH PRIVATE KEY-----\nno\n-----END OPENSSH PRIVATE KEY-----\n")
			return PublicKey, "passphrase"
		},
		func(o *Options) (Reason, string) { o.SSHKeyFile = write(t, "token"); return Invalid, "no private key" },
		func(o *Options) (Reason, string) {
			o.SSHKeyFile, o.TokenFile = "", write(t, "token")
			return Invalid, "a token is for https"
		},
		func(o *Options) (Reason, string) { o.TokenFile = write(t, userKey); return Invalid, "two private keys" },
		func(o *Options) (Reason, string) {
			o.URL = "ssh://git@" + address + "/nothing.git"
			return NoRepository, "Check the URL"
		},
		func(o *Options) (Reason, string) { o.Branch = "mian"; return NoBranch, `There is "main".` },
		func(o *Options) (Reason, string) {
			o.URL = "ssh://git@" + strings.Replace(address, "127.0.0.1", "nowhere.invalid", 1) + "/a"
			return NoHost, ""
		},
	} {
		o := o
		reason, words := change(&o)
		if text, printed := fails(t, o, reason, words); strings.Contains(text+printed, "b3BlbnNzaC1rZXk") {
			t.Errorf("the key is shown: %s\n%s", text, printed)
		}
	}
}

// Submodules work over SSH too, and a repository of an HTTP URL may have submodules by SSH.
func TestSSHSubmodules(t *testing.T) {
	h := nested(t)
	userKey, user := key(t)
	_, hostKey := key(t)
	address := h.sshServer(hostKey, user.PublicKey())
	o := Options{Branch: "main", Submodules: true, KnownHostsFile: write(t, knownHosts(address, hostKey.PublicKey())), SSHKeyFile: write(t, userKey)}
	o.URL = "ssh://" + address + "/group/top.git"
	if _, dir := must(t, o); read(t, dir, "libs/mid/leaf/leaf") != "old" {
		t.Error("not the commit that is wanted")
	}
	leaf := git(t, h.root+"/leaf.git", "rev-parse", "main")
	h.repo("http.git")
	h.commit("http.git", "main", map[string]string{".gitmodules": modules("sub", "ssh://git@"+address+"/leaf.git"), "sub": "gitlink:" + leaf})
	url, _ := serve(t, h.handler())
	o.URL = url + "/http.git"
	if _, dir := must(t, o); read(t, dir, "sub/leaf") != "new" {
		t.Error("not the commit that is wanted")
	}
	o.KnownHostsFile = ""
	fails(t, o, HostKey, "submodule sub", "ssh-keyscan")
}

// An SSH server that takes the connection and says nothing, or garbage.
func TestHostileSSH(t *testing.T) {
	t.Parallel() // they wait
	userKey, _ := key(t)
	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  Reason
	}{
		"says nothing":   {func(conn net.Conn) { io.Copy(io.Discard, conn) }, TooSlow},
		"closes at once": {func(net.Conn) {}, Protocol},
		"is garbage": {func(conn net.Conn) {
			fmt.Fprint(conn, "SSH-2.0-x\r\n\x00\x00\xff\xff\x1b[2J"+strings.Repeat("x", 1<<16))
		}, Protocol},
		"hangs later": {func(conn net.Conn) { fmt.Fprint(conn, "SSH-2.0-x\r\n"); io.Copy(io.Discard, conn) }, TooSlow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, c.serve)
			o := Options{URL: "ssh://git@" + address + "/a.git", Branch: "main", SSHKeyFile: write(t, userKey), KnownHostsFile: write(t, ""), limits: brief, Timeout: 5 * time.Second}
			fails(t, o, c.want)
		})
	}
}
