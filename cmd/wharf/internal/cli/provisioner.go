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
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/cmd/wharf/internal/settings"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/giturl"
	"github.com/wharfci/wharf/worker/lease"
)

// provisioning is how a provisioner runs.
type provisioning struct {
	config, driver    string
	listen            string
	cert, key         string
	tokens            []string
	open              bool
	issuer, audience  string
	rate              float64
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
	keep, grace       time.Duration
	level             *choice
	log               hclog.Logger
}

// provisionerEnv is what the variables of its settings begin with.
const provisionerEnv = "WHARF_PROVISIONER"

func newProvisioner() *cobra.Command { return new(provisioning).command() }

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
	driverFlag(cmd, &p.driver)
	p.pull = newPull()
	p.level = &choice{values: []string{"debug", "info", "warn", "error"}, value: "info"}
	f := cmd.Flags()
	f.StringVar(&p.config, "config", os.Getenv(provisionerEnv+"_CONFIG"), "YAML `file` with settings")
	f.StringVar(&p.listen, "listen", "127.0.0.1:5009", "`address` of the API")
	f.StringVar(&p.cert, "tls-cert", "", "`file` with the certificate of the API, in PEM")
	f.StringVar(&p.key, "tls-key", "", "`file` with its key, in PEM")
	f.StringArrayVar(&p.tokens, "token", nil, "who may use the API, and the file with the token that they show, as `name=file` (repeatable, to replace one by another)")
	f.BoolVar(&p.open, "no-token", false, "let everybody in who reaches the address, which must be on this machine alone")
	f.StringVar(&p.issuer, "oidc-issuer", "", "`URL` of an OpenID Connect provider whose bearer tokens are taken too")
	f.StringVar(&p.audience, "oidc-audience", "", "the audience that these must be for")
	f.Float64Var(&p.rate, "rate", 50, "how many requests a second one address may make; negative is no limit")
	f.StringVar(&p.image, "image", "", "the worker's `image`, with wharf and Git (required)")
	f.Var(p.pull, "pull", "when to fetch it: "+strings.Join(p.pull.values, ", "))
	f.StringVar(&p.account, "service-account", "wharf-worker", "of workers on Kubernetes")
	f.IntVar(&p.limits.Total, "limit", 100, "how many workers may run at once")
	f.IntVar(&p.limits.PerProject, "limit-per-project", 0, "how many of one project; 0 is no limit")
	f.IntVar(&p.limits.PerInstance, "limit-per-instance", 0, "how many of one instance of wharf-api; 0 is no limit")
	f.IntVar(&p.limits.Queue, "queue", 10_000, "how many may wait; more are refused")
	f.StringArrayVar(&p.allow, "allow", nil, "what may be cloned, such as github.com or https://git.example.com/group/* (repeatable; default: everything by HTTPS and SSH)")
	f.BoolVar(&p.http, "allow-http", false, "also clone by HTTP without TLS")
	f.StringVar(&p.clone.User, "clone-user", "", "user name for HTTPS, where the URL has none")
	f.IntVar(&p.clone.Depth, "clone-depth", 1, "how many commits are fetched")
	f.DurationVar(&p.clone.Timeout, "clone-timeout", 30*time.Minute, "how long a clone may take")
	f.StringVar(&p.sshKey, "ssh-key", "", "`file` with the private key for SSH, where a trigger brings none")
	f.StringVar(&p.hosts, "known-hosts", "", "`file` with the keys of SSH servers, as ssh-keyscan prints them")
	f.StringVar(&p.ca, "ca", "", "`file` with further certificates for HTTPS, in PEM")
	f.StringVar(&p.workerKey, "worker-key", "", "`file` with the secret that the workers' tokens are made from (default: one that is made and kept in the state directory)")
	f.StringArrayVar(&p.options, "worker-option", nil, "a further flag for workers, such as --parallel=4 (repeatable)")
	f.Var(&p.memory, "worker-memory", "how much memory a worker may use, beside its steps, such as 512MiB")
	f.Float64Var(&p.cpu, "worker-cpu", 0, "how many processors a worker may use, beside its steps")
	f.DurationVar(&p.keep, "keep", 24*time.Hour, "how long a worker is kept that has ended and whose results nobody took")
	f.DurationVar(&p.grace, "grace", 30*time.Second, "how long a build has to end when its worker is deleted")
	f.Var(p.level, "log-level", "what is logged: "+strings.Join(p.level.values, ", "))
	return cmd
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
	in := watch(func(_ int, why string) { cancel(errors.New(why)) })
	defer in.stop()
	h, err := openWith(ctx, p.driver, func(ctx context.Context, name string) (*drivers.Hosting, error) {
		return drivers.OpenHosting(ctx, name, p.account)
	})
	if err != nil {
		return tooEarly(ctx, err)
	}
	defer h.Close()
	cfg.Driver, cfg.Builds, cfg.Access = h.Workers.Driver, h.Builds.Driver, h.Access
	service, err := provisioner.New(cfg)
	if err != nil {
		return wrong(err)
	}
	l, err := net.Listen("tcp", p.listen)
	if err != nil {
		return trouble(err)
	}
	p.log.Info("serving", "address", l.Addr().String(), "runtime", h.Builds.Capabilities.Runtime, "image", p.image)
	return p.serve(ctx, service, gate, secure, l)
}

// mostConnections is how many the API has at once; others wait.
const mostConnections = 1000

// serve runs the service and its API until ctx ends; then requests under way have some seconds.
func (p *provisioning) serve(ctx context.Context, service *provisioner.Provisioner, gate provisioner.Gate, secure *tls.Config, l net.Listener) error {
	l = netutil.LimitListener(l, mostConnections)
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
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
	stop() // ends the streams of those who watch
	bounded, cancel := context.WithTimeout(context.Background(), p.grace+10*time.Second)
	defer cancel()
	err := s.Shutdown(bounded)
	if err != nil {
		p.log.Warn("requests were cut off", "error", err)
		_ = s.Close()
	}
	<-ran
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
	if p.image == "" {
		fail("--image is missing: name the image that workers are made from, such as registry.example/wharf/worker:1")
	}
	gate = provisioner.Gate{Tokens: map[string]string{}, Open: p.open, Rate: p.rate}
	for _, t := range p.tokens {
		name, path, ok := strings.Cut(t, "=")
		if !ok || name == "" || path == "" {
			fail("--token %q: must be name=file", t)
			continue
		}
		if gate.Tokens[name] != "" {
			fail("--token %s: is given twice; a second token needs another name", name)
		}
		gate.Tokens[name] = strings.TrimSpace(string(file("token", path)))
	}
	if len(gate.Tokens) == 0 && p.issuer == "" && !p.open {
		fail("nobody could use the API: give --token, --oidc-issuer, or, where only this machine reaches it, --no-token")
	}
	if p.open && len(gate.Tokens) > 0 {
		fail("--no-token: there is a --token, which would mean nothing")
	}
	for name, zero := range map[string]bool{
		"limit": p.limits.Total == 0, "queue": p.limits.Queue == 0, "keep": p.keep == 0, "grace": p.grace == 0, "rate": p.rate == 0, "clone-timeout": p.clone.Timeout == 0, "clone-depth": p.clone.Depth == 0,
	} {
		if zero {
			fail("--%s: must not be 0", name)
		}
	}
	if p.open && !loopback(p.listen) {
		fail("--no-token: %s can be reached from other machines; give --token", p.listen)
	}
	if (p.issuer == "") != (p.audience == "") {
		fail("--oidc-issuer and --oidc-audience go together")
	} else if p.issuer != "" {
		gate.Verify = verifier(p.issuer, p.audience)
	}
	secure, err = certificate(p.cert, p.key)
	if err != nil {
		errs = append(errs, err)
	}
	cfg = provisioner.Config{
		Image: p.image, Pull: pulls[p.pull.value], Limits: p.limits, Policy: giturl.Policy{Allow: p.allow, HTTP: p.http}, Clone: p.clone, Options: p.options,
		Keep: p.keep, Grace: p.grace, Log: p.log,
	}
	cfg.Clone.SSHKey, cfg.Clone.KnownHosts, cfg.Clone.CA = file("ssh-key", p.sshKey), file("known-hosts", p.hosts), file("ca", p.ca)
	cfg.Resources.Memory, cfg.Resources.CPU = int64(p.memory), int64(p.cpu*1000)
	if err := cfg.Policy.Validate(); err != nil {
		fail("--allow: %w", err)
	}
	if p.workerKey != "" {
		cfg.WorkerKey = file("worker-key", p.workerKey)
	} else if cfg.WorkerKey, err = keptKey(); err != nil {
		errs = append(errs, err)
	}
	return cfg, gate, secure, errors.Join(errs...)
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

// verifier checks tokens of an OpenID Connect provider, which is asked for its keys when the first one comes.
func verifier(issuer, audience string) func(context.Context, string) (string, error) {
	var mu sync.Mutex
	var checks *oidc.IDTokenVerifier
	get := func() (*oidc.IDTokenVerifier, error) {
		mu.Lock()
		defer mu.Unlock()
		if checks != nil {
			return checks, nil
		}
		// The provider's keys are fetched with this context, also later.
		ctx := oidc.ClientContext(context.Background(), &http.Client{Timeout: 10 * time.Second})
		provider, err := oidc.NewProvider(ctx, issuer)
		if err != nil {
			return nil, err
		}
		checks = provider.Verifier(&oidc.Config{ClientID: audience})
		return checks, nil
	}
	return func(ctx context.Context, bearer string) (string, error) {
		c, err := get()
		if err != nil {
			return "", err
		}
		token, err := c.Verify(ctx, bearer)
		if err != nil {
			return "", err
		}
		return token.Subject, nil
	}
}
