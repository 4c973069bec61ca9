package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/cmd/wharf/internal/rest"
	"github.com/wharfci/wharf/cmd/wharf/internal/served"
	"github.com/wharfci/wharf/cmd/wharf/internal/supervise"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/report"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
)

// tokenEnv is the variable with a worker's token, where no file has it.
const tokenEnv = "WHARF_WORKER_TOKEN"

// working is how a worker runs.
type working struct {
	running
	listen, http string
	tokenFile    string
	cert, key    string
	linger       time.Duration
	restarts     int
	order        string
	report       bool
	of           provisioner.Order
	begun        bool
	log          hclog.Logger
	serving      *served.Serving
	spans        *tracing
}

func newWorker() *cobra.Command {
	var w working
	cmd := &cobra.Command{
		Use:   "worker [directory]",
		Short: "Run one build as a service, and keep what happens for whoever reads it",
		Long: `Runs the build of a directory, as "wharf run" does, and serves it by gRPC: its
journal, live and from any entry on, its artifacts, its state. It goes on serving
when the build has ended, until a client says that everything was taken, the time
of --linger passes, or it gets SIGTERM, and ends with the exit code of the build.

It opens no connection but to the runtime. Clients show a token: that of
--token-file or $WHARF_WORKER_TOKEN, or one that it makes, which stands in
worker.json in the results directory.

A worker that was killed goes on when it is started again with the same results
directory: steps that run are followed, and none runs twice.`,
		Example: `  wharf worker --results /var/lib/wharf/build-7
  wharf worker --results out --listen 0.0.0.0:7500 --tls-cert cert.pem --tls-key key.pem --token-file token
  wharf logs --follow 127.0.0.1:7500`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.restarts > 0 && !supervise.Child() {
				return w.supervise()
			}
			return w.told(w.run(cmd.Context(), directory(args)))
		},
	}
	w.addBuild(cmd)
	f := cmd.Flags()
	f.StringVar(&w.results, "results", "", "`directory` for the journal, logs and artifacts (required)")
	_ = cmd.MarkFlagRequired("results")
	f.StringVar(&w.listen, "listen", "127.0.0.1:0", "`address` of the API; port 0 is any, which the log and worker.json tell")
	f.StringVar(&w.http, "http", "127.0.0.1:0", "`address` of /healthz, /readyz and /metrics; empty is none")
	f.StringVar(&w.tokenFile, "token-file", "", "`file` with the token that clients have to show (default: $WHARF_WORKER_TOKEN, or a random one)")
	f.StringVar(&w.cert, "tls-cert", "", "`file` with the certificate of the API, in PEM")
	f.StringVar(&w.key, "tls-key", "", "`file` with its key, in PEM")
	f.StringVar(&w.order, "order", "", "`file` with what a provisioner asks for: stage, environment, inputs and variables, in JSON")
	f.BoolVar(&w.report, "report", false, "tell each state of the build on standard output, as a line of JSON")
	f.DurationVar(&w.linger, "linger", 24*time.Hour, "how long to serve a build that has ended")
	f.IntVar(&w.restarts, "restarts", 0, "how `often` in a row the worker is started again when its process is killed; each goes on where the one before was")
	return cmd
}

// supervise runs the worker as a child, and again when that is killed.
func (w *working) supervise() error {
	log := newLog("worker", hclog.DefaultLevel)
	code, err := supervise.Run(w.restarts, func(signal syscall.Signal, again bool) {
		log.Error("the worker was killed", "signal", signal.String(), "again", again)
	})
	if err != nil {
		return trouble(err)
	}
	if code != exitOK {
		return &exit{code, nil}
	}
	return nil
}

// tell reports a state, if that is wanted.
func (w *working) tell(state report.State, reason string) {
	if w.report {
		if err := report.Write(os.Stdout, report.Line{State: state, Reason: reason}); err != nil {
			w.log.Warn("a state could not be reported", "state", state, "error", err)
		}
	}
}

// told reports why there is no build at all.
func (w *working) told(err error) error {
	var e *exit
	if errors.As(err, &e) && e.err != nil && !w.begun {
		w.tell(report.Errored, e.err.Error())
	}
	return err
}

// reported are the words for how a build ended.
var reported = map[worker.State]report.State{worker.Succeeded: report.Succeeded, worker.Failed: report.Failed, worker.Cancelled: report.Cancelled}

// ordered takes what the provisioner asks for, for what no flag says.
func (w *working) ordered() error {
	if w.order == "" {
		return nil
	}
	text, err := os.ReadFile(w.order)
	if err == nil {
		err = json.Unmarshal(text, &w.of)
	}
	if err != nil {
		return fmt.Errorf("--order %s: %w", w.order, err)
	}
	w.environment = cmp.Or(w.environment, w.of.Environment)
	if len(w.stages) == 0 && w.of.Stage != "" {
		w.stages = []string{w.of.Stage}
	}
	for _, name := range slices.Sorted(maps.Keys(w.of.Inputs)) {
		w.inputs = append(w.inputs, name+"="+w.of.Inputs[name])
	}
	for _, name := range slices.Sorted(maps.Keys(w.of.Variables)) {
		w.vars = append(w.vars, name+"="+w.of.Variables[name])
	}
	return nil
}

// run runs the worker.
func (w *working) run(ctx context.Context, dir string) error {
	w.log = newLog("worker", hclog.DefaultLevel)
	w.output = &choice{}
	if err := w.validate(); err != nil {
		return wrong(err)
	}
	if err := w.ordered(); err != nil {
		return wrong(err)
	}
	token, err := readToken(w.tokenFile)
	if err != nil {
		return wrong(err)
	}
	secure, err := certificate(w.cert, w.key, w.log)
	if err != nil {
		return wrong(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := watch(func(_ int, why string) { cancel(errors.New(why)) })
	defer in.stop()
	b, o, close, err := w.prepare(ctx, dir)
	if err != nil {
		return tooEarly(ctx, err)
	}
	defer close()
	w.serving, err = served.Start(b, served.Options{
		Listen: w.listen, HTTP: w.http, Token: token, TLS: secure, Version: "wharf " + self().String(), Runtime: o.Capabilities.Runtime,
	})
	if err != nil {
		return trouble(errors.Join(err, b.Journal().Close()))
	}
	defer w.serving.Close()
	w.log.Info("serving", "build", b.ID(), "address", w.serving.Listens, "http", w.serving.HTTP, "results", b.Results())
	lingering, stop := context.WithCancel(context.Background())
	defer stop()
	in.on(func(count int, why string) {
		w.log.Info("stopping", "reason", why)
		b.Stop("its worker was told to end ("+why+")", count > 1)
		stop()
	})
	if secure == nil && !loopback(w.listen) {
		w.log.Warn("without --tls-cert the token, and all that the build prints, can be read on the network", "address", w.serving.Listens)
	}
	w.begun = true
	w.tell(report.Running, "")
	out, err := b.Run(context.Background())
	if errors.Is(err, worker.ErrNotResumed) {
		return trouble(fmt.Errorf("%w; start the worker again", err))
	}
	close() // the rest needs no runtime: many workers that wait for somebody to take their results would all hear of everything there
	w.spans.close()
	rest.Now()
	w.log.Info("the build has ended", "state", out.State, "reason", out.Reason)
	state, reason := cmp.Or(reported[out.State], report.Errored), out.Reason
	if err != nil && !errors.Is(err, worker.ErrLeft) { // what is not stored for certain is no success
		state, reason = report.Errored, err.Error()
	}
	w.tell(state, reason)
	if err != nil {
		w.log.Error("not everything went well", "error", err)
	}
	w.serveOn(lingering)
	return ended{outcome: out, err: err, results: b.Results(), told: true}.finish()
}

// loopback reports whether an address is one of this machine alone.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// checkAddress looks whether a setting is an address to listen at; empty is none.
func checkAddress(setting, address string) error {
	if _, port, err := net.SplitHostPort(address); address != "" && (err != nil || port == "") {
		return fmt.Errorf("--%s %q: must be host:port, such as 127.0.0.1:5010, or :5010 for every address of this machine", setting, address)
	}
	return nil
}

// farewell is how long a worker that is told to end, and that somebody relays, waits for that to have everything.
const farewell = 10 * time.Second

// serveOn serves the build that has ended.
func (w *working) serveOn(ctx context.Context) {
	t := time.NewTimer(w.linger)
	defer t.Stop()
	select {
	case <-w.serving.Released():
	case <-t.C:
		w.log.Warn("nobody said that everything was taken", "after", w.linger.String())
		return
	case <-ctx.Done():
		if !w.serving.Claimed() {
			return
		}
		t.Reset(min(farewell, w.linger))
		select {
		case <-w.serving.Released():
		case <-t.C:
			w.log.Warn("not everything was taken in time", "after", farewell.String())
			return
		}
	}
	w.log.Info("everything was taken")
	w.tell(report.Released, "")
}

// prepare makes the build, and opens its journal: a new one, or that of a worker that was killed.
func (w *working) prepare(ctx context.Context, dir string) (b *worker.Build, o *drivers.Opened, close func(), err error) {
	p, err := load(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	defer p.Close()
	opts, err := p.options(ctx, &w.choices)
	if err != nil {
		return nil, nil, nil, err
	}
	plan, err := p.def.Plan(opts)
	if err != nil {
		return nil, nil, nil, wrong(invalid{err})
	}
	for _, warning := range plan.Warnings {
		w.log.Warn(warning.Error())
	}
	if r, err := journal.Open(w.results); err == nil {
		_ = r.Close()
	} else if errors.Is(err, journal.ErrNewer) { // nothing is touched
		return nil, nil, nil, unusable(err)
	}
	state, err := lease.Open(filepath.Join(w.results, ".state", "wharf"))
	if err != nil {
		return nil, nil, nil, trouble(err)
	}
	if o, err = w.openPatiently(ctx); err != nil {
		return nil, nil, nil, err
	}
	close = sync.OnceFunc(func() { o.Driver.Close() })
	cfg := w.config(p, plan, o)
	cfg.State, cfg.Results, cfg.Resume = state, w.results, true
	of := p.identity(opts)
	cfg.Instance, cfg.ProjectID = of.instance, of.project
	if w.of.Worker != "" {
		cfg.Labels = map[string]string{provisioner.LabelWorker: w.of.Worker}
		cfg.Project = w.of.Project
	}
	cfg.Observe = func(events []worker.Event) { w.spans.observe(events) }
	if b, err = worker.New(cfg); err != nil {
		close()
		return nil, nil, nil, wrong(err)
	}
	if err := b.Open(); err != nil {
		close()
		return nil, nil, nil, unusable(err)
	}
	w.spans = newTracing(ctx, b.ID(), func(format string, args ...any) { w.log.Warn(fmt.Sprintf(format, args...)) })
	return b, o, close, nil
}

// How long a worker tries to reach its runtime, which may be busy: nobody is there to start it again.
const (
	openPatience = 2 * time.Minute
	openPause    = 2 * time.Second
)

// openPatiently opens the driver; a runtime that does not answer is asked again for a while.
func (w *working) openPatiently(ctx context.Context) (*drivers.Opened, error) {
	began := time.Now()
	for {
		o, err := openDriver(ctx, w.driver)
		var e *exit
		if err == nil || errors.As(err, &e) && e.code == exitUsage || ctx.Err() != nil || time.Since(began) > openPatience {
			return o, err
		}
		w.log.Warn("the runtime does not answer; trying again", "error", err)
		t := time.NewTimer(openPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

// newLog is the log of a service: text on a terminal, and JSON elsewhere.
func newLog(name string, level hclog.Level) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: name, Output: os.Stderr, JSONFormat: !term.IsTerminal(int(os.Stderr.Fd())), Level: level})
}

// readToken returns the token of a file or of the environment; empty if neither has one.
func readToken(path string) (string, error) {
	text, from := os.Getenv(tokenEnv), "$"+tokenEnv
	if path != "" {
		read, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		text, from = string(read), "--token-file "+path
	}
	token := strings.TrimSpace(text)
	if token == "" && path != "" {
		return "", fmt.Errorf("%s is empty", from)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: a token consists of printable ASCII characters without spaces", from)
	}
	return token, nil
}
