package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/oauth2"

	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/cmd/wharf/internal/settings"
	"github.com/wharfci/wharf/provisioner/client"
)

// watching is how a watchdog runs.
type watching struct {
	config       string
	api          wharfAPI
	provisioners []string
	token, ca    string
	cfg          watchdog.Config
	once         bool
	http         string
	level        *choice
	log          hclog.Logger
}

// watchdogEnv is what the variables of its settings begin with.
const watchdogEnv = "WHARF_WATCHDOG"

func newWatchdog() *cobra.Command { return (&watching{}).command() }

func (w *watching) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watchdog",
		Short: "End builds that have no worker, and workers that nobody wants",
		Long: `Compares the builds that are active at wharf-api with the workers of provisioners,
again and again. A build that had no worker for the time of --grace gets a line that
says so, and fails. A worker whose build was not active for that time is deleted. If
somebody does not answer, or most of what there is seems to be alone at once, nothing
is done. It keeps nothing itself; one is enough for a wharf-api.

Name every provisioner that runs its builds; with --engine the engines that stand for
them if there are others, and with --instance its own if these serve several.

With --once it looks until it is decided of all that its first look has found, and
ends with 0 if there was nothing, 1 if something was ended (with --dry-run: would have
been), and 3 if somebody did not answer or something could not be ended.

Every setting is a flag, a variable WHARF_WATCHDOG_… (--grace is
WHARF_WATCHDOG_GRACE), or a line of the YAML file that --config names
("grace: 10m"); the first of these that has it counts. Secrets are files.`,
		Example: `  wharf watchdog --wharf-api https://wharf.example --wharf-api-token api-token \
      --provisioner https://provisioner.example:5009 --provisioner-token token --dry-run
  wharf watchdog --config /etc/wharf/watchdog.yml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Fill(cmd.Flags(), watchdogEnv, w.config, "config"); err != nil {
				return wrong(err)
			}
			return w.run(cmd.Context())
		},
	}
	w.level = &choice{values: []string{"debug", "info", "warn", "error"}, value: "info"}
	f := cmd.Flags()
	f.SortFlags = false // they come in groups
	f.StringVar(&w.config, "config", os.Getenv(watchdogEnv+"_CONFIG"), "YAML `file` with settings")
	w.api.addTo(f)
	f.StringArrayVar(&w.provisioners, "provisioner", nil, "`URL` of a provisioner, such as https://provisioner.example:5009: all that run builds of this wharf-api (required, repeatable)")
	f.StringVar(&w.token, "provisioner-token", "", "`file` with the token that these are shown; it is read again when it has changed")
	f.StringVar(&w.ca, "provisioner-ca", "", "`file` with further certificates of provisioners, in PEM")
	w.addRules(f)
	f.StringVar(&w.http, "http", "127.0.0.1:5012", "`address` of /healthz, /readyz and /metrics; empty is none, and so is --once")
	f.Var(w.level, "log-level", "what is logged: "+strings.Join(w.level.values, ", "))
	return cmd
}

// addRules adds the settings of what is ended.
func (w *watching) addRules(f *pflag.FlagSet) {
	c := &w.cfg
	f.StringArrayVar(&c.Instances, "instance", nil, "`name` of this instance of wharf-api, as its triggers have it: workers of others stay (repeatable; default: all, as long as they are of one)")
	f.StringArrayVar(&c.Engines, "engine", nil, "`ID` of an engine of wharf-api that these provisioners are: builds of others do not fail (repeatable; default: all)")
	f.DurationVar(&c.Grace, "grace", 5*time.Minute, "how long a build has no worker, or a worker no active build, before it is ended")
	f.DurationVar(&c.Every, "every", 30*time.Second, "how often it is looked")
	f.IntVar(&c.Most, "most", 20, "how many are ended after one look; the rest comes after the next")
	f.BoolVar(&c.Force, "force", false, "end also more than half of all, and more than 5, at once")
	f.BoolVar(&c.DryRun, "dry-run", false, "only say what would be ended")
	f.BoolVar(&w.once, "once", false, "end when it is decided of all that the first look has found, with an exit code that says whether that was something")
}

// run watches until it is told to end.
func (w *watching) run(ctx context.Context) error {
	w.log = newLog("watchdog", hclog.LevelFromString(w.level.value))
	dog, err := w.settle()
	if err != nil {
		return wrong(err)
	}
	defer w.cfg.Sink.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := watch(func(_ int, why string) { cancel(errors.New(why)) })
	defer in.stop()
	if w.once {
		return w.runOnce(ctx, dog)
	}
	served := make(chan error, 1)
	if w.http != "" {
		l, err := net.Listen("tcp", w.http)
		if err != nil {
			return trouble(fmt.Errorf("--http: %w", err))
		}
		w.log.Info("serving", "address", l.Addr().String())
		s := &http.Server{Handler: dog.Handler(), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
		defer s.Close()
		go func() {
			err := s.Serve(l)
			served <- err
			cancel(err)
		}()
	}
	_ = dog.Run(ctx) // which is nil
	w.log.Info("stopping", "reason", context.Cause(ctx))
	select {
	case err := <-served:
		return trouble(err)
	default:
		return nil
	}
}

// runOnce watches until everything is decided.
func (w *watching) runOnce(ctx context.Context, dog *watchdog.Watchdog) error {
	found, err := dog.Once(ctx)
	switch {
	case ctx.Err() != nil:
		return &exit{exitCancelled, nil}
	case err != nil:
		return trouble(err)
	}
	w.log.Info("everything is decided", "builds", found.Builds, "workers", found.Workers, "dry-run", w.cfg.DryRun)
	if found.Builds+found.Workers > 0 {
		return &exit{exitFailed, nil}
	}
	return nil
}

// settle makes the watchdog of the settings.
func (w *watching) settle() (*watchdog.Watchdog, error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, s := range []struct {
		name string
		zero bool
	}{{"grace", w.cfg.Grace <= 0}, {"every", w.cfg.Every <= 0}, {"most", w.cfg.Most <= 0}} {
		if s.zero {
			fail("--%s: must be more than 0", s.name)
		}
	}
	var err error
	if w.cfg.Sink, err = w.api.open(); err != nil {
		errs = append(errs, err)
	}
	if w.cfg.Provisioners, err = w.clients(); err != nil {
		errs = append(errs, err)
	}
	if err := checkAddress("http", w.http); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if w.api.plain() {
		w.log.Warn("the token for wharf-api can be read on the network", "url", w.api.url, "help", "https")
	}
	w.cfg.Log = w.log
	return watchdog.New(w.cfg)
}

// clients are those of the provisioners.
func (w *watching) clients() (all []*client.Client, err error) {
	var errs []error
	if len(w.provisioners) == 0 {
		errs = append(errs, errors.New("--provisioner is missing: the URL of each that runs builds of this wharf-api, such as https://provisioner.example:5009"))
	}
	secure, err := furtherCertificates("provisioner-ca", w.ca)
	errs = append(errs, err)
	plain := http.DefaultTransport.(*http.Transport).Clone()
	plain.TLSClientConfig = secure
	var transport http.RoundTripper = plain
	if w.token != "" {
		file, err := openSecret("provisioner-token", w.token)
		errs = append(errs, err)
		transport = &oauth2.Transport{Source: file, Base: plain}
	}
	doer := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // it would carry the token elsewhere
	for i, at := range w.provisioners {
		for _, other := range w.provisioners[:i] {
			if other == at {
				errs = append(errs, fmt.Errorf("--provisioner %s: is given twice", at))
			}
		}
		c, err := client.New(at, "", client.Options{HTTP: doer})
		if err != nil {
			errs = append(errs, fmt.Errorf("--%w", err))
			continue
		}
		if w.token != "" && unencrypted(at) {
			w.log.Warn("the token for a provisioner can be read on the network", "url", c.String(), "help", "https")
		}
		all = append(all, c)
	}
	return all, errors.Join(errs...)
}
