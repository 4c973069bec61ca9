package clone

import (
	"errors"
	"regexp"
	"strings"
)

// signs are what Git, curl, ssh and servers say, by what it means; the first that fits decides. Git runs with LC_ALL=C, so that it says
// it in English.
var signs = []struct {
	reason Reason
	form   *regexp.Regexp
}{
	{NoSSH, regexp.MustCompile(`No user exists for uid`)},
	{DiskFull, regexp.MustCompile(`No space left on device|Disk quota exceeded`)},
	{NoHost, regexp.MustCompile(`(?i)could not resolve (host|proxy)|Name or service not known|Temporary failure in name resolution`)},
	{HostKey, regexp.MustCompile(`Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No matching host key|No \S+ host key is known`)},
	{PublicKey, regexp.MustCompile(`Permission denied \(|Too many authentication failures|Load key .*: `)},
	{Certificate, regexp.MustCompile(`(?i)SSL certificate problem|certificate verification failed|SSL: no alternative certificate|certificate subject name|server certificate|unable to get local issuer`)},
	{TooSlow, regexp.MustCompile(`Operation too slow|Operation timed out|[Tt]imed out|Timeout, server .* not responding|i/o timeout`)},
	{Unreachable, regexp.MustCompile(`Connection refused|Failed to connect to|Couldn't connect to server|No route to host|Network is unreachable|unable to connect`)},
	{Redirect, regexp.MustCompile(`returned error: 30\d|unable to update url base from redirection|Maximum \(\d+\) redirects`)},
	{Auth, regexp.MustCompile(`Authentication failed|could not read (Username|Password)|returned error: 40[137]|HTTP Basic: Access denied|Authorization error|Authentication required|Bad credentials`)},
	{NoRepository, regexp.MustCompile(`(?i)repository '.*' not found|returned error: 404|Repository not found|does not appear to be a git repository|project you were looking for could not be found|repository .* does not exist`)},
	{NoBranch, regexp.MustCompile(`(?i)couldn't find remote ref`)},
	{NoCommit, regexp.MustCompile(`not our ref|unadvertised object|remote did not send all necessary objects|Direct fetching of that commit failed`)},
	{Protocol, regexp.MustCompile(`(?i)protocol error|bad line length|early EOF|index-pack|unexpected disconnect|not valid: (is this a git repository|could not determine hash)|RPC failed|bad pack|Empty reply|hung up|invalid server response|unknown (service|protocol)|expected flush|fetch-pack|transfer closed|server sent|smart http|returned error: \d+|gnutls_handshake|kex_exchange|Connection reset|Connection closed|SSL|unable to access|Could not read from remote`)},
}

// explain says what it means that Git failed.
func (c *cloner) explain(g *gitError) error {
	e := &Error{Reason: Other, Words: g.words, Err: g}
	said := strings.Join(g.words, "\n")
	for _, s := range signs {
		if s.form.MatchString(said) {
			e.Reason = s.reason
			break
		}
	}
	if e.Reason == Auth && (c.secret.token == "" || strings.Contains(said, "could not read Username")) {
		e.Mend = "Give a token that may read this repository: the server asks for one, and none was given for it. Some servers ask also where there is no such repository."
	}
	if e.Reason == NoSSH {
		e.Mend = "ssh wants an entry in /etc/passwd for the user that it runs as: add one to the image, or run as another user."
	}
	return e
}

// reason returns the class of an error.
func reason(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}
