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

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/aggregator/sink/local"
	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/cmd/wharf/internal/settings"
)

// aggregatorEnv begins the variables of the aggregator's settings.
const aggregatorEnv = "WHARF_AGGREGATOR"

// aggregating is how an aggregator runs.
type aggregating struct {
	driver    string
	config    string
	name      string
	http      string
	workerKey string
	instances []string
	unstarted time.Duration
	scratch   string
	level     *choice
	api       wharfAPI
	store     storing
	log       hclog.Logger
}

func newAggregator() *cobra.Command { return (&aggregating{}).command() }

func (a *aggregating) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregator",
		Short: "Relay what builds print and leave to wharf-api, each line once",
		Long: `Finds the workers that a provisioner has started on the runtime, and relays their
logs, states, artifacts and test results to wharf-api, or, without --wharf-api, to
a store on this machine with an API to read. It keeps nothing else itself: it may be killed and started again at any time, and several may serve one runtime;
they share the workers, and one takes over from another that has died.

Every setting is a flag, a variable WHARF_AGGREGATOR_… (--worker-key is
WHARF_AGGREGATOR_WORKER_KEY), or a line of the YAML file that --config names
("worker-key: /etc/wharf/key"); the first of these that has it counts. Secrets are
files.`,
		Example: `  wharf aggregator --wharf-api https://wharf.example --worker-key /etc/wharf/worker-key
  wharf aggregator --store builds --store-listen 127.0.0.1:5011
  wharf aggregator --config /etc/wharf/aggregator.yml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Fill(cmd.Flags(), aggregatorEnv, a.config, "config"); err != nil {
				return wrong(err)
			}
			return a.run(cmd.Context())
		},
	}
	a.level = &choice{values: []string{"debug", "info", "warn", "error"}, value: "info"}
	f := cmd.Flags()
	f.SortFlags = false // they come in groups
	f.StringVar(&a.config, "config", os.Getenv(aggregatorEnv+"_CONFIG"), "YAML `file` with settings")
	driverFlag(cmd, &a.driver)
	a.api.addTo(f)
	f.Lookup("wharf-api").Usage = "`URL` of wharf-api, such as https://wharf.example; without it builds go to a store on this machine"
	a.store.addTo(f)
	a.addRest(f)
	return cmd
}

func (a *aggregating) addRest(f *pflag.FlagSet) {
	f.StringVar(&a.workerKey, "worker-key", "", "`file` with the secret that the workers' tokens are made from, the provisioner's (default: that of the state directory)")
	f.StringArrayVar(&a.instances, "instance", nil, "an instance of wharf-api whose builds are relayed, by `name` (repeatable; default: all)")
	f.DurationVar(&a.unstarted, "unstarted", 15*time.Minute, "how long the runtime may say why a worker whose turn has come does not run, before its build is failed")
	f.StringVar(&a.scratch, "scratch", "", "`directory` for copies of what workers have left that were killed, a few at a time, on a disk of this machine (default: the system's)")
	f.StringVar(&a.name, "name", "", "`who` this is, to workers and to people; no two that run may have the same (default: the host's name and something random)")
	f.StringVar(&a.http, "http", "127.0.0.1:5010", "`address` of /healthz, /readyz and /metrics; empty is none")
	f.Var(a.level, "log-level", "what is logged: "+strings.Join(a.level.values, ", "))
}

// run relays until it is told to end.
func (a *aggregating) run(ctx context.Context) error {
	a.log = newLog("aggregator", hclog.LevelFromString(a.level.value))
	cfg, err := a.settle()
	if err != nil {
		return wrong(err)
	}
	defer func() { _ = cfg.Sink.Close() }()
	if a.api.plain() {
		a.log.Warn("the token, and all that builds print, goes to wharf-api unencrypted; give it an https URL")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := watch(func(_ int, why string) {
		a.log.Info("stopping", "reason", why)
		cancel(errors.New(why))
	})
	defer in.stop()
	o, err := openWith(ctx, a.driver, drivers.OpenWorkers)
	if err != nil {
		if context.Cause(ctx) != nil { // nothing was begun
			return nil
		}
		return err
	}
	defer o.Driver.Close()
	cfg.Driver = o.Driver
	if a.api.url != "" {
		a.log.Info("builds go to wharf-api", "url", a.api.url)
	}
	service, err := aggregator.New(cfg)
	if err != nil {
		return wrong(err)
	}
	stop, err := a.serve(service)
	if err != nil {
		return trouble(err)
	}
	defer stop()
	if store, ok := cfg.Sink.(*local.Store); ok {
		stop, err := a.store.serve(store, a.log)
		if err != nil {
			return trouble(err)
		}
		defer stop()
	}
	if err := service.Run(ctx); err != nil {
		return trouble(err)
	}
	return nil
}

// serve serves health and metrics, if that is wanted.
func (a *aggregating) serve(service *aggregator.Aggregator) (stop func(), err error) {
	if a.http == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", a.http)
	if err != nil {
		return nil, fmt.Errorf("--http: %w", err)
	}
	s := &http.Server{Handler: service.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	go func() { _ = s.Serve(l) }()
	a.log.Info("serving", "address", l.Addr().String())
	return func() { _ = s.Close() }, nil
}

// settle reads what the settings name.
func (a *aggregating) settle() (cfg aggregator.Config, err error) {
	cfg = aggregator.Config{Name: a.name, Instances: a.instances, Unstarted: a.unstarted, Scratch: a.scratch, Log: a.log}
	var errs []error
	if cfg.WorkerKey, err = readWorkerKey(a.workerKey); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkAddress("http", a.http), checkAddress("store-listen", a.store.listen))
	if a.unstarted <= 0 {
		errs = append(errs, errors.New("--unstarted: must be more than 0"))
	}
	if info, err := os.Stat(a.scratch); a.scratch != "" && (err != nil || !info.IsDir()) {
		errs = append(errs, fmt.Errorf("--scratch: %q must be a directory", a.scratch))
	}
	switch {
	case a.api.url != "" && a.store.dir != "":
		err = errors.New("--store: builds go to --wharf-api; give one of them")
	case a.api.url != "":
		cfg.Sink, err = a.api.open()
	case a.api.given() != "":
		err = fmt.Errorf("--%s: --wharf-api is missing; without it builds go to a store on this machine", a.api.given())
	default:
		cfg.Sink, err = a.store.open(a.log)
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return cfg, err
	}
	return cfg, nil
}

// readWorkerKey reads the secret that the workers' tokens are made from: that of a file, or of the state directory.
func readWorkerKey(path string) (key []byte, err error) {
	if path == "" {
		key, err = keptKey()
	} else if key, err = os.ReadFile(path); err == nil && len(key) < 16 {
		err = fmt.Errorf("%s has %d bytes; 16 are the least", path, len(key))
	}
	if err != nil {
		return nil, fmt.Errorf("--worker-key: %w", err)
	}
	return key, nil
}
