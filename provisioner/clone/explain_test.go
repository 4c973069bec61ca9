package clone

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/wharfci/wharf/provisioner/giturl"
)

// What Git, curl and ssh of several versions say, where no test can have them say it.
func TestExplain(t *testing.T) {
	for said, want := range map[string]Reason{
		"fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output":                              DiskFull,
		"error: unable to write file big: Disk quota exceeded":                                                                   DiskFull,
		"fatal: unable to access 'https://h/a/': Could not resolve host: h":                                                      NoHost,
		"fatal: unable to access 'https://h/a/': Could not resolve proxy: p":                                                     NoHost,
		"ssh: Could not resolve hostname h: Temporary failure in name resolution\nfatal: Could not read from remote repository.": NoHost,
		"fatal: unable to access 'https://h/a/': Failed to connect to h port 443 after 9 ms: Connection refused":                 Unreachable,
		"ssh: connect to host h port 22: No route to host":                                                                       Unreachable,
		"ssh: connect to host h port 22: Connection timed out":                                                                   TooSlow,
		"fatal: unable to access 'https://h/a/': SSL certificate problem: self-signed certificate":                               Certificate,
		"fatal: unable to access 'https://h/a/': server certificate verification failed. CAfile: none CRLfile: none":             Certificate,
		"fatal: unable to access 'https://h/a/': SSL: no alternative certificate subject name matches target host name 'h'":      Certificate,
		"remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://h/a/'":                                     Auth,
		"remote: Permission to a denied.\nfatal: unable to access 'https://h/a/': The requested URL returned error: 403":         Auth,
		"remote: Repository not found.\nfatal: repository 'https://h/a/' not found":                                              NoRepository,
		"ERROR: Repository not found.\nfatal: Could not read from remote repository.":                                            NoRepository,
		"fatal: '/a' does not appear to be a git repository\nfatal: Could not read from remote repository.":                      NoRepository,
		"remote: The project you were looking for could not be found or you don't have permission to view it.":                   NoRepository,
		"git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.":                                   PublicKey,
		"Host key verification failed.\nfatal: Could not read from remote repository.":                                           HostKey,
		"fatal: unable to access 'https://h/a/': Operation too slow. Less than 1 bytes/sec transferred the last 1 seconds":       TooSlow,
		"Timeout, server h not responding.":                                                                                      TooSlow,
		"error: RPC failed; curl 18 transfer closed with outstanding read data remaining\nfatal: early EOF":                      Protocol,
		"fatal: protocol error: bad line length character: <htm":                                                                 Protocol,
		"fatal: remote error: upload-pack: not our ref 0f0f":                                                                     NoCommit,
		"error: Server does not allow request for unadvertised object 0f0f":                                                      NoCommit,
		"No user exists for uid 1000\nfatal: Could not read from remote repository.":                                             NoSSH,
		"fatal: something that no version says":                                                                                  Other,
	} {
		c := &cloner{url: giturl.URL{Scheme: "https", Host: "h", Path: "/a"}}
		err := c.fail(context.Background(), c.explain(&gitError{command: "fetch", code: 128, words: strings.Split(said, "\n"), err: errors.New("exit status 128")}))
		if !errors.Is(err, want) {
			t.Errorf("%q is %q, want %q", said, reason(err), want)
		}
		if text := err.Error(); !strings.HasPrefix(text, "cannot clone https://h/a: ") || !strings.Contains(text, "git: "+strings.Split(said, "\n")[0]) {
			t.Errorf("%s", text)
		}
	}
	c := &cloner{}
	if err := c.fail(context.Background(), fmt.Errorf("making a directory: %w", syscall.ENOSPC)); !errors.Is(err, DiskFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func TestEveryReasonIsTold(t *testing.T) {
	for _, r := range []Reason{Invalid, NotAllowed, NotEmpty, NoGit, NoSSH, NoLFS, NoHost, Unreachable, Certificate, HostKey, Auth, PublicKey, NoRepository,
		NoBranch, NoCommit, NoPath, Redirect, TooSlow, Protocol, DiskFull, Cancelled, Other} {
		if about[r].headline == "" {
			t.Errorf("%s has no words", string(r))
		}
	}
}
