package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/cmd/wharf/internal/settings"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/giturl"
	"github.com/wharfci/wharf/provisioner/origin"
	"github.com/wharfci/wharf/worker/lease"
)

// provisioning is how a provisioner runs.
type provisioning struct {
	config, driver    string
	listen            string
	cert, key         string
	tokens            []string
	open              bool
	oidc              oidcRules
	rate              float64
	streams           int
	bounds            origin.Bounds
	proxies           []string
	image, account    string
	pull              *choice
	limits            provisioner.Limits
	allow             []string
	http              bool
	clone             provisioner.Clone
	sshKey, hosts, ca string
	workerKey         string
	options           []string
	memory            size
	cpu               float64
	secrets           string
	keep, grace       time.Duration
	level             *choice
	log               hclog.Logger
	// host opens the runtime.
	host func(ctx context.Context, name, account string, key []byte) (*drivers.Hosting, error)
}

// provisionerEnv is what the variables of its settings begin with.
const provisionerEnv = "WHARF_PROVISIONER"

func newProvisioner() *cobra.Command { return (&provisioning{host: drivers.OpenHosting}).command() }

func (p *provisioning) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provisioner",
		Short: "Serve the API that starts builds, each in a worker of its own",
		Long: `Serves the HTTP API by which wharf-api, or a webhook, asks for builds, and runs a
worker for each, in a container on the runtime, when its turn has come. It keeps
nothing itself: it may be killed and started again at any time, and several may
serve one runtime.

Every setting is a flag, a variable WHARF_PROVISIONER_… (--limit is
WHARF_PROVISIONER_LIMIT), or a line of the YAML file that --config names
("limit: 20"); the first of these that has it counts. Secrets are files.`,
		Example: `  wharf provisioner --image registry.example/wharf/worker:1 --token wharf-api=/etc/wharf/token
  wharf provisioner --config /etc/wharf/provisioner.yml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Fill(cmd.Flags(), provisionerEnv, p.config, "config"); err != nil {
				return wrong(err)
			}
			return p.run(cmd.Context())
		},
	}
	p.pull = newPull()
	p.level = &choice{values: []string{"debug", "info", "warn", "error"}, value: "info"}
	f := cmd.Flags()
	f.SortFlags = false // they come in groups
	f.StringVar(&p.config, "config", os.Getenv(provisionerEnv+"_CONFIG"), "YAML `file` with settings")
	driverFlag(cmd, &p.driver)
	p.addAPI(f)
	p.addWorkers(f)
	p.addClones(f)
	f.Var(p.level, "log-level", "what is logged: "+strings.Join(p.level.values, ", "))
	return cmd
}

// addAPI adds the settings of who may ask.
func (p *provisioning) addAPI(f *pflag.FlagSet) {
	f.StringVar(&p.listen, "listen", "127.0.0.1:5009", "`address` of the API")
	f.StringVar(&p.cert, "tls-cert", "", "`file` with the certificate of the API, in PEM; it is read again when it has changed")
	f.StringVar(&p.key, "tls-key", "", "`file` with its key, in PEM")
	f.StringArrayVar(&p.tokens, "token", nil, "who may use the API, and the file with the token that they show, as `name=file` (repeatable, to replace one by another)")
	f.BoolVar(&p.open, "no-token", false, "let everybody in who reaches the address, which must be on this machine alone")
	f.StringVar(&p.oidc.issuer, "oidc-issuer", "", "`URL` of an OpenID Connect provider whose bearer tokens are taken too")
	f.StringVar(&p.oidc.audience, "oidc-audience", "", "the `audience` that these must be for (required with --oidc-issuer)")
	f.StringArrayVar(&p.oidc.subjects, "oidc-subject", nil, "a `subject` (sub) that may use the API; \"*\" in it stands for any text, such as repo:group/name:* (repeatable)")
	f.StringArrayVar(&p.oidc.claims, "oidc-claim", nil, "a claim that these must have, as `name=value`, such as azp=wharf-api or realm_access.roles=ci (repeatable; of several values of one name, one)")
	f.Float64Var(&p.rate, "rate", 50, "how many requests a second one address may make; negative is no limit")
	f.IntVar(&p.bounds.All, "connections", 2000, "how many connections there may be at once; others wait")
	f.IntVar(&p.bounds.Each, "connections-per-address", 1000, "how many of one address; others are closed; negative is no limit")
	f.IntVar(&p.streams, "streams-per-address", 20, "how many streams of changes (?watch=true) one address may have open; negative is no limit")
	f.StringArrayVar(&p.proxies, "proxy", nil, "`address` or network of a proxy, which is believed for whom it asks (X-Forwarded-For), and has no limit of its own (repeatable)")
}

// addWorkers adds those of the workers.
func (p *provisioning) addWorkers(f *pflag.FlagSet) {
	f.StringVar(&p.image, "image", "", "the worker's `image`, with wharf and Git (required)")
	f.Var(p.pull, "pull", "when to fetch it: "+strings.Join(p.pull.values, ", "))
	f.IntVar(&p.limits.Total, "limit", 100, "how many workers may run at once")
	f.IntVar(&p.limits.PerProject, "limit-per-project", 0, "how many of one project; 0 is no limit")
	f.IntVar(&p.limits.PerInstance, "limit-per-instance", 0, "how many of one instance of wharf-api; 0 is no limit")
	f.IntVar(&p.limits.Queue, "queue", 10_000, "how many may wait; more are refused")
	f.DurationVar(&p.keep, "keep", 24*time.Hour, "how long a worker is kept that has ended and whose results nobody took")
	f.IntVar(&p.limits.Finished, "keep-most", 1000, "how many of these are kept; of more the oldest are removed, however young")
	f.DurationVar(&p.grace, "grace", 30*time.Second, "how long a build has to end when its worker is deleted")
	f.Var(&p.memory, "worker-memory", "how much memory a worker may use, beside its steps, such as 512MiB; 0 is no limit")
	f.Float64Var(&p.cpu, "worker-cpu", 0, "how many processors a worker may use, beside its steps; 0 is no limit")
	f.StringArrayVar(&p.options, "worker-option", nil, "a further `flag` of wharf worker, such as --parallel=4 (repeatable)")
	f.StringVar(&p.workerKey, "worker-key", "", "`file` with the secret that the workers' tokens are made from, and a key for the secrets of those that wait on Docker (default: one that is made and kept in the state directory)")
	f.StringVar(&p.secrets, "secrets", "", "`directory` of project secrets, of which a worker gets those of its project")
	f.StringVar(&p.account, "service-account", "wharf-worker", "service `account` of workers on Kubernetes")
}

// addClones adds those of what is cloned, and how.
func (p *provisioning) addClones(f *pflag.FlagSet) {
	f.StringArrayVar(&p.allow, "allow", nil, "`what` may be cloned, such as github.com or https://git.example.com/group/* (repeatable; default: everything by HTTPS and SSH)")
	f.BoolVar(&p.http, "allow-http", false, "also clone by HTTP without TLS")
	f.StringVar(&p.clone.User, "clone-user", "", "user `name` for HTTPS, where the URL has none")
	f.IntVar(&p.clone.Depth, "clone-depth", 1, "how many commits are fetched")
	f.DurationVar(&p.clone.Timeout, "clone-timeout", 30*time.Minute, "how long a clone may take")
	f.StringVar(&p.sshKey, "ssh-key", "", "`file` with the private key for SSH, where a trigger brings none")
	f.StringVar(&p.hosts, "known-hosts", "", "`file` with the keys of SSH servers, as ssh-keyscan prints them")
	f.StringVar(&p.ca, "ca", "", "`file` with further certificates of Git servers, in PEM")
}

// run serves until it is told to end.
func (p *provisioning) run(ctx context.Context) error {
	p.log = newLog("provisioner", hclog.LevelFromString(p.level.value))
	cfg, gate, secure, err := p.settle()
	if err != nil {
		return wrong(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	force, forced := context.WithCancel(context.Background())
	defer forced()
	in := watch(func(count int, why string) {
		cancel(errors.New(why))
		if count > 1 {
			forced()
		}
	})
	defer in.stop()
	h, err := openWith(ctx, p.driver, func(ctx context.Context, name string) (*drivers.Hosting, error) {
		return p.host(ctx, name, p.account, p.seal(cfg.WorkerKey))
	})
	if err != nil {
		if context.Cause(ctx) != nil { // nothing was begun
			return nil
		}
		return err
	}
	defer h.Close()
	cfg.Driver, cfg.Builds, cfg.Access, cfg.Creates = h.Workers.Driver, h.Builds.Driver, h.Access, h.Creates
	service, err := provisioner.New(cfg)
	if err != nil {
		return wrong(err)
	}
	l, err := net.Listen("tcp", p.listen)
	if err != nil {
		return trouble(err)
	}
	p.log.Info("serving", "address", l.Addr().String(), "runtime", h.Builds.Capabilities.Runtime, "image", p.image)
	if secure == nil && !loopback(l.Addr().String()) {
		p.log.Warn("tokens and credentials come unencrypted; give --tls-cert and --tls-key, or have a proxy in front do it", "address", l.Addr().String())
	}
	return p.serve(ctx, force, service, gate, secure, l)
}

// serve runs the service and its API until ctx ends. Then nothing new is taken, streams end, and requests under way have as long as a deletion takes, or until force ends.
func (p *provisioning) serve(ctx, force context.Context, service *provisioner.Provisioner, gate provisioner.Gate, secure *tls.Config, l net.Listener) error {
	p.bounds.Refused = func(address string) {
		p.log.Warn("an address has as many connections as it may; others are closed", "address", address, "limit", p.bounds.Each, "help", "--connections-per-address, or --proxy for a proxy")
	}
	l = origin.Listen(l, p.bounds)
	if secure != nil {
		secure = secure.Clone()
		secure.NextProtos = []string{"http/1.1"} // by HTTP/2 one connection would have many streams
		l = tls.NewListener(l, secure)
	}
	// An answer, once it begins, has its own time to be taken; WriteTimeout has that of a deletion too.
	s := &http.Server{
		Handler: service.Handler(gate), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: p.grace + 5*time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 256 << 10, ErrorLog: p.log.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	running, stop := context.WithCancel(context.Background())
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- service.Run(running) }()
	select {
	case err := <-served:
		stop()
		<-ran
		return trouble(err)
	case <-ctx.Done():
	}
	p.log.Info("stopping", "reason", context.Cause(ctx))
	_ = l.Close() // its error is Serve's
	<-served
	stop() // ends the streams of those who watch
	bounded, cancel := context.WithTimeout(force, p.grace+10*time.Second)
	defer cancel()
	if err := s.Shutdown(bounded); err != nil {
		p.log.Warn("requests were cut off", "error", err)
		_ = s.Close()
	}
	select {
	case <-ran:
	case <-bounded.Done(): // a deletion under way can be repeated
	}
	return nil
}

// settle reads what the settings name.
func (p *provisioning) settle() (cfg provisioner.Config, gate provisioner.Gate, secure *tls.Config, err error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	file := func(flag, path string) []byte {
		if path == "" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			fail("--%s: %w", flag, err)
		} else if len(strings.TrimSpace(string(text))) == 0 {
			fail("--%s: %s is empty", flag, path)
		}
		return text
	}
	gate = provisioner.Gate{Tokens: map[string]string{}, Open: p.open, Rate: p.rate, Streams: p.streams}
	for _, t := range p.tokens {
		name, path, ok := strings.Cut(t, "=")
		if !ok || name == "" || path == "" {
			fail("--token %q: must be name=file, such as wharf-api=/etc/wharf/token", t)
			continue
		}
		token := strings.TrimSpace(string(file("token", path)))
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			fail("--token %s: %s: a token consists of printable ASCII characters without spaces", name, path)
		}
		for other, text := range gate.Tokens {
			if other == name {
				fail("--token %s: is given twice; a second token needs another name", name)
			} else if text == token && token != "" {
				fail("--token %s: is the token of %s too; the audit log could not tell them apart", name, other)
			}
		}
		gate.Tokens[name] = token
	}
	if gate.Proxies, err = origin.ParseProxies(p.proxies); err != nil {
		fail("--proxy %w", err)
	}
	p.bounds.Proxies = gate.Proxies
	errs = append(errs, p.validate())
	if p.oidc.issuer != "" {
		gate.Verify = (&issuer{rules: p.oidc}).verify
	}
	secure, err = certificate(p.cert, p.key, p.log)
	if err != nil {
		errs = append(errs, err)
	}
	cfg = provisioner.Config{
		Image: p.image, Pull: pulls[p.pull.value], Limits: p.limits, Policy: giturl.Policy{Allow: p.allow, HTTP: p.http}, Clone: p.clone, Options: p.options,
		Secrets: p.secrets, Keep: p.keep, Grace: p.grace, Log: p.log,
	}
	cfg.Clone.SSHKey, cfg.Clone.KnownHosts, cfg.Clone.CA = file("ssh-key", p.sshKey), file("known-hosts", p.hosts), file("ca", p.ca)
	cfg.Resources.Memory, cfg.Resources.CPU = int64(p.memory), int64(p.cpu*1000)
	if err := cfg.Policy.Validate(); err != nil {
		fail("--allow: %w", err)
	}
	if p.workerKey != "" {
		if cfg.WorkerKey = file("worker-key", p.workerKey); len(cfg.WorkerKey) > 0 && len(cfg.WorkerKey) < 16 {
			fail("--worker-key: %s has %d bytes; 16 are the least", p.workerKey, len(cfg.WorkerKey))
		}
	} else if cfg.WorkerKey, err = keptKey(); err != nil {
		errs = append(errs, err)
	}
	return cfg, gate, secure, errors.Join(errs...)
}

// validate reports what is missing or means nothing.
func (p *provisioning) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.image == "" {
		fail("--image is missing: name the image that workers are made from, such as registry.example/wharf/worker:1")
	}
	if len(p.tokens) == 0 && p.oidc.issuer == "" && !p.open {
		fail("nobody could use the API: give --token name=file, --oidc-issuer, or, where only this machine reaches it, --no-token")
	}
	if p.open && (len(p.tokens) > 0 || p.oidc.issuer != "") {
		fail("--no-token: there is a --token or an --oidc-issuer, which would mean nothing")
	}
	if _, port, err := net.SplitHostPort(p.listen); err != nil || port == "" {
		fail("--listen %q: must be host:port, such as 127.0.0.1:5009, or :5009 for every address of this machine", p.listen)
	} else if p.open && !loopback(p.listen) {
		fail("--no-token: %s can be reached from other machines; give --token", p.listen)
	}
	for _, s := range []struct {
		name string
		zero bool
	}{
		{"rate", p.rate == 0}, {"connections", p.bounds.All <= 0}, {"connections-per-address", p.bounds.Each == 0}, {"streams-per-address", p.streams == 0}, {"limit", p.limits.Total <= 0},
		{"queue", p.limits.Queue <= 0}, {"keep", p.keep <= 0}, {"keep-most", p.limits.Finished <= 0}, {"grace", p.grace <= 0}, {"clone-depth", p.clone.Depth <= 0}, {"clone-timeout", p.clone.Timeout <= 0},
	} {
		if s.zero {
			fail("--%s: must be more than 0", s.name)
		}
	}
	if p.limits.PerProject < 0 || p.limits.PerInstance < 0 || p.cpu < 0 {
		fail("--limit-per-project, --limit-per-instance and --worker-cpu must not be negative")
	}
	return errors.Join(append(errs, p.oidc.validate())...)
}

// seal returns the key with which Docker keeps the secrets of workers that wait: the workers' own where it was given. One that was made here may be another one after a
// restart in another place, and then no waiting worker could be started.
func (p *provisioning) seal(key []byte) []byte {
	if p.workerKey == "" {
		return nil
	}
	return key
}

// keptKey returns the workers' key of the state directory, and makes it the first time.
func keptKey() ([]byte, error) {
	state, err := lease.Open("")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(state.Path(), "worker-key")
	if text, err := os.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	f, err := os.CreateTemp(state.Path(), "worker-key-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(rand.Text() + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) { // another process may be faster
		return nil, err
	}
	return os.ReadFile(path)
}
