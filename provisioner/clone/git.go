package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/wharfci/wharf/provisioner/giturl"
)

var errTimeout = errors.New("the time limit has passed")

// command is a run of Git.
type command struct {
	dir     string
	network bool // it may connect to servers
	smudge  bool // it fetches what Git LFS keeps
	quiet   bool // what it says is of no interest
	in      string
	args    []string
}

// local runs Git for what needs no server.
func (c *cloner) local(ctx context.Context, dir string, args ...string) (string, error) {
	return c.call(ctx, command{dir: dir, args: args})
}

// remote runs Git for what needs a server.
func (c *cloner) remote(ctx context.Context, dir string, args ...string) (string, error) {
	return c.call(ctx, command{dir: dir, network: true, args: args})
}

// most is how many bytes of Git's standard output are kept.
const most = 4 << 20

// call runs Git and returns its standard output. The error is an *Error, or the context's.
func (c *cloner) call(ctx context.Context, r command) (string, error) {
	cmd := exec.CommandContext(ctx, c.git, append([]string{"-C", r.dir, "--no-pager"}, r.args...)...)
	cmd.Env = c.environ(r)
	cmd.Stdin = strings.NewReader(r.in)
	var stdout bounded
	stderr := c.out.stream(r.quiet)
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = c.o.limits.die
	err := cmd.Run()
	if err != nil && cmd.Process != nil {
		_ = killGroup(cmd) // whom a git that died has left
	}
	words := stderr.end()
	switch {
	case ctx.Err() != nil:
		return "", &Error{Words: words, Err: context.Cause(ctx)}
	case err != nil:
		code := -1
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		}
		return "", c.explain(&gitError{command: r.args[0], code: code, words: words, err: err})
	case stdout.full:
		return "", fmt.Errorf("git %s printed more than %d bytes", r.args[0], most)
	}
	return stdout.String(), nil
}

// checkVersion refuses a Git that would not heed all of the settings.
func (c *cloner) checkVersion(ctx context.Context) error {
	out, err := c.local(ctx, c.private, "version")
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(out, "git version %d.%d", &major, &minor); err != nil || major < 2 || major == 2 && minor < 32 {
		return &Error{Reason: NoGit, Err: fmt.Errorf("%q is too old", strings.TrimSpace(out))}
	}
	return nil
}

// gitError is a run of Git that failed.
type gitError struct {
	command string
	code    int // the exit code, or -1
	words   []string
	err     error
}

func (e *gitError) Error() string { return fmt.Sprintf("git %s: %v", e.command, e.err) }
func (e *gitError) Unwrap() error { return e.err }

// says reports whether an error is of Git, and one of its words contains the text.
func says(err error, texts ...string) bool {
	g, ok := errors.AsType[*gitError](err)
	if !ok {
		return false
	}
	said := strings.Join(g.words, "\n")
	for _, text := range texts {
		if strings.Contains(said, text) {
			return true
		}
	}
	return false
}

// inherited are the variables of this process that Git sees: where programs are, and how to reach servers.
var inherited = []string{"PATH", "TMPDIR", "TZ", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"}

// environ is all that Git sees of the environment.
func (c *cloner) environ(r command) []string {
	env := []string{
		"HOME=" + c.home(), "XDG_CONFIG_HOME=" + filepath.Join(c.home(), ".config"), "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "SSH_ASKPASS_REQUIRE=never", "GIT_EDITOR=:",
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(c.o.Dir), "GIT_LITERAL_PATHSPECS=1", "GIT_NO_REPLACE_OBJECTS=1",
		"GIT_SSH_VARIANT=ssh", "GIT_SSH_COMMAND=" + c.ssh, "GIT_ALLOW_PROTOCOL=" + c.protocols(r.network),
	}
	if !r.smudge {
		env = append(env, "GIT_LFS_SKIP_SMUDGE=1")
	}
	for _, name := range inherited {
		if v, set := os.LookupEnv(name); set {
			env = append(env, name+"="+v)
		}
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(c.config)/2))
	for i := 0; i < len(c.config); i += 2 {
		n := strconv.Itoa(i / 2)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+c.config[i], "GIT_CONFIG_VALUE_"+n+"="+c.config[i+1])
	}
	return env
}

// protocols are those that Git may use, with colons between; also in a repository that lacks objects, which Git fetches by itself.
func (c *cloner) protocols(network bool) string {
	switch {
	case !network:
		return "none"
	case c.httpAllowed():
		return giturl.HTTPS + ":" + giturl.SSH + ":" + giturl.HTTP
	}
	return giturl.HTTPS + ":" + giturl.SSH
}

// httpAllowed reports whether the policy knows http:// at all; for which servers it decides with each URL.
func (c *cloner) httpAllowed() bool {
	if c.o.Policy.HTTP {
		return true
	}
	for _, p := range c.o.Policy.Allow {
		if strings.HasPrefix(strings.ToLower(p), giturl.HTTP+"://") {
			return true
		}
	}
	return false
}

// settings are Git's, in place of all configuration files.
func (c *cloner) settings() ([]string, error) {
	seconds := strconv.Itoa(max(1, int(c.o.limits.idle/time.Second)))
	set := []string{
		"core.hooksPath", os.DevNull, "core.fsmonitor", "false", "core.askPass", "", "core.protectHFS", "true", "core.protectNTFS", "true",
		"credential.helper", "", "credential.useHttpPath", "false",
		"protocol.allow", "never", // GIT_ALLOW_PROTOCOL goes before it, as long as it is there
		"http.followRedirects", "false", "http.sslVerify", "true", "http.saveCookies", "false",
		// Servers that are at work send five bytes every five seconds.
		"http.lowSpeedLimit", "1", "http.lowSpeedTime", seconds,
		"gc.auto", "0", "maintenance.auto", "false", "fetch.unpackLimit", "1", "fetch.recurseSubmodules", "false", "submodule.recurse", "false",
		"advice.detachedHead", "false", "init.defaultBranch", "main",
		"safe.directory", "*", // the directory may be another user's, but what is in it is ours
	}
	if c.secret.token != "" {
		helper, err := c.helper()
		if err != nil {
			return nil, err
		}
		set = append(set, "credential.helper", helper)
	}
	if c.o.CAFile != "" {
		path, err := c.certificates()
		if err != nil {
			return nil, err
		}
		set = append(set, "http.sslCAInfo", path)
	}
	if c.o.LFS {
		set = append(set, "filter.lfs.process", "git-lfs filter-process", "filter.lfs.smudge", "git-lfs smudge -- %f",
			"filter.lfs.clean", "git-lfs clean -- %f", "filter.lfs.required", "true", "lfs.locksverify", "false",
			"lfs.activitytimeout", seconds, "lfs.dialtimeout", seconds, "lfs.tlstimeout", seconds, "lfs.transfer.maxretries", "2")
	}
	return set, nil
}

// systemCertificates are where distributions keep those that they trust.
var systemCertificates = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}

// certificates writes those of the system and those of CAFile into one file, since Git takes one.
func (c *cloner) certificates() (string, error) {
	own, err := os.ReadFile(c.o.CAFile)
	if err != nil {
		return "", invalid(fmt.Errorf("the file with certificates: %w", err))
	}
	if !strings.Contains(string(own), "-----BEGIN CERTIFICATE-----") {
		return "", invalid(fmt.Errorf("%s holds no certificate in PEM", c.o.CAFile))
	}
	all := append(own, '\n')
	for _, path := range systemCertificates {
		if system, err := os.ReadFile(path); err == nil {
			all = append(all, system...)
			break
		}
	}
	return c.keep("certificates.pem", all)
}

// bounded keeps the start of what is written to it. It takes the rest too, so that git ends by itself.
type bounded struct {
	strings.Builder
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := most - b.Len()
	b.full = b.full || len(p) > room
	b.Builder.Write(p[:min(len(p), room)])
	return len(p), nil
}
