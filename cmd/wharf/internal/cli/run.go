package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/builds"
	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/cmd/wharf/internal/served"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
)

// running is how a build is run, as the flags of "wharf run" say it.
type running struct {
	choices
	driver      string
	parallel    int
	output      *choice
	dryRun      bool
	keep        bool
	timeout     time.Duration
	grace       time.Duration
	results     string
	copyIgnored bool
	pull        *choice
	serve       string
	// stepLogLimit and logLimit are in bytes; 0 is none.
	stepLogLimit, logLimit size
	// secrets and certificates are the installation's directories of these.
	secrets, certificates string
}

func newRun() *cobra.Command {
	var r running
	cmd := &cobra.Command{
		Use:   "run [directory]",
		Short: "Run the build of a directory",
		Long: `Runs the build that the .wharf-ci.yml in the directory describes.

An interrupt stops the build gracefully: what runs gets the grace time to end.
A second one ends it by force. Nothing is left on the runtime either way.`,
		Example: `  wharf run
  wharf run --stage test --stage lint ../shop
  wharf run --environment stage --input version=1.4
  wharf run --dry-run
  wharf run --output json | jq -r 'select(.kind == "log").line'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: directories,
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), directory(args)) },
	}
	r.addBuild(cmd)
	r.output = outputFlag(cmd, "auto", "tty", "plain", "json")
	f := cmd.Flags()
	f.BoolVarP(&r.dryRun, "dry-run", "n", false, "only print what would run")
	f.StringVar(&r.results, "results", "", "`directory` for logs and artifacts (default: below ~/.local/state/wharf/builds)")
	f.StringVar(&r.serve, "serve", "", "offer the worker's API at this `address` while it runs (without a value: 127.0.0.1, any port)")
	f.Lookup("serve").NoOptDefVal = "127.0.0.1:0"
	return cmd
}

// addBuild adds the flags that say how a build is run.
func (r *running) addBuild(cmd *cobra.Command) {
	r.addTo(cmd)
	r.addStages(cmd)
	driverFlag(cmd, &r.driver)
	f := cmd.Flags()
	f.IntVarP(&r.parallel, "parallel", "p", 0, "how many steps may run at once (default: the number of CPUs)")
	f.BoolVar(&r.keep, "keep", false, "leave containers and volumes on the runtime")
	f.DurationVar(&r.timeout, "timeout", 0, "stop the build after this time, such as 30m (default: the definition's)")
	f.DurationVar(&r.grace, "grace", 10*time.Second, "time between asking a step to end and killing it")
	f.Var(&r.stepLogLimit, "step-log-limit", "how much of each step's log is kept, such as 100MiB (default: all)")
	f.Var(&r.logLimit, "log-limit", "how much of all logs together is kept (default: all)")
	r.pull = newPull()
	f.Var(r.pull, "pull", "when to fetch images: "+strings.Join(r.pull.values, ", "))
	complete(cmd, "pull", func(*cobra.Command, string) []string { return r.pull.values })
	f.StringVar(&r.secrets, "secrets", os.Getenv("WHARF_SECRETS"), "`directory` of project secrets (default: $WHARF_SECRETS)")
	f.StringVar(&r.certificates, "certificates", os.Getenv("WHARF_CERTIFICATES"), "`directory` of CA certificates for steps (default: $WHARF_CERTIFICATES)")
	f.BoolVar(&r.copyIgnored, "no-gitignore", false, "also copy what .gitignore excludes")
}

func (r *running) validate() error {
	switch {
	case r.parallel < 0:
		return errors.New("--parallel: must not be negative")
	case r.timeout < 0:
		return errors.New("--timeout: must not be negative")
	case r.grace <= 0:
		return errors.New("--grace: must be more than 0, such as 1s")
	case r.output.value == "tty" && !r.dryRun && !newTerminal(os.Stdout, os.Getenv).is:
		return errors.New("--output tty: standard output is no terminal that can be drawn on; use --output plain")
	}
	return nil
}

func (r *running) run(ctx context.Context, dir string) error {
	if err := r.validate(); err != nil {
		return wrong(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := watch(func(_ int, why string) { cancel(errors.New(why)) })
	defer in.stop()
	return tooEarly(ctx, r.prepared(ctx, dir, in))
}

// prepared makes the plan while the runtime is being asked what it is, and goes on with both.
func (r *running) prepared(ctx context.Context, dir string, in *interrupts) error {
	opening := r.open(ctx)
	defer opening.close()
	p, err := load(dir)
	if err != nil {
		return err
	}
	defer p.Close()
	opts, err := p.options(ctx, &r.choices)
	if err != nil {
		return err
	}
	plan, err := p.def.Plan(opts)
	if err != nil {
		return wrong(invalid{err})
	}
	for _, w := range plan.Warnings {
		warn(os.Stderr, "warning: %v", w)
	}
	if r.dryRun {
		if err := printPlan(os.Stdout, plan, r.output.value == "json"); err != nil {
			return trouble(err)
		}
		return nil
	}
	o, err := opening.wait()
	if err != nil {
		return err
	}
	if o.Chosen {
		warn(os.Stderr, "using %s; --driver chooses another", o.Capabilities.Runtime)
	}
	return r.build(p, plan, p.identity(opts), o, in)
}

// opening is a driver that is being opened.
type opening struct {
	cancel context.CancelFunc
	done   chan struct{}
	opened *drivers.Opened
	err    error
}

// open begins to open the driver, unless nothing will run.
func (r *running) open(ctx context.Context) *opening {
	ctx, cancel := context.WithCancel(ctx)
	op := &opening{cancel: cancel, done: make(chan struct{})}
	if r.dryRun {
		close(op.done)
		return op
	}
	go func() {
		defer close(op.done)
		op.opened, op.err = openDriver(ctx, r.driver)
	}()
	return op
}

func (op *opening) wait() (*drivers.Opened, error) {
	<-op.done
	return op.opened, op.err
}

func (op *opening) close() {
	op.cancel()
	<-op.done
	if op.opened != nil {
		op.opened.Driver.Close()
	}
}

// place is where a new build has its lease and its results.
type place struct {
	id      string
	state   *lease.Dir
	lease   *lease.Lease
	results string
	tidy    func(context.Context) error // removes old results
}

// place takes the lease of a new build, and decides where its results go.
func (r *running) place(p *project) (*place, error) {
	state, err := lease.Open("")
	if err != nil {
		return nil, err
	}
	at := &place{id: worker.NewID(), state: state}
	if at.lease, err = state.Take(at.id); err != nil {
		return nil, err
	}
	if r.results != "" {
		at.tidy = func(context.Context) error { return nil }
		at.results, err = filepath.Abs(r.results)
		return at, err
	}
	store, err := builds.Open()
	if err != nil {
		return nil, err
	}
	at.tidy = func(ctx context.Context) error { _, err := store.Prune(ctx, p.dir); return err }
	at.results, err = store.Add(at.lease, p.dir)
	return at, err
}

// newPull is a flag that says when images are fetched.
func newPull() *choice {
	return &choice{values: []string{"if-not-present", "always", "never"}, value: "if-not-present"}
}

var pulls = map[string]driver.PullPolicy{"if-not-present": driver.PullIfNotPresent, "always": driver.PullAlways, "never": driver.PullNever}

// config is what the flags say of a build.
func (r *running) config(p *project, plan *pipeline.Plan, o *drivers.Opened) worker.Config {
	return worker.Config{
		Driver: o.Driver, Plan: plan, Repository: p.dir, CopyIgnored: r.copyIgnored, Parallel: r.parallel, Timeout: r.timeout, Grace: r.grace, Keep: r.keep,
		StepLogLimit: int64(r.stepLogLimit), LogLimit: int64(r.logLimit), Pull: pulls[r.pull.value], Secrets: r.secrets, Certificates: r.certificates,
	}
}

// build runs the plan.
func (r *running) build(p *project, plan *pipeline.Plan, of identity, o *drivers.Opened, in *interrupts) error {
	at, err := r.place(p)
	if err != nil {
		return trouble(err)
	}
	defer at.lease.Release() // unless the build has given it back
	janitor := newJanitor(o.Driver, at.tidy)
	var show *display
	cfg := r.config(p, plan, o)
	cfg.ID, cfg.State, cfg.Lease, cfg.Results = at.id, at.state, at.lease, at.results
	cfg.Instance, cfg.ProjectID = of.instance, of.project
	spans := newTracing(context.Background(), at.id, func(format string, args ...any) { warn(os.Stderr, format, args...) })
	cfg.Observe = func(events []worker.Event) {
		janitor.observe(events)
		show.observe(events)
		spans.observe(events)
	}
	b, err := worker.New(cfg)
	if err != nil {
		return wrong(err)
	}
	if err := b.Open(); err != nil { // before there is a display: nothing of the build will be shown
		return unusable(err)
	}
	serving, err := served.Start(b, served.Options{Listen: r.serve, Version: "wharf " + self().String(), Runtime: o.Capabilities.Runtime})
	if err != nil && r.serve != "" {
		return trouble(errors.Join(fmt.Errorf("--serve %s: %w", r.serve, err), b.Journal().Close()))
	}
	if err != nil { // the build goes on; only "wharf cancel" and others do not find it
		warn(os.Stderr, "the build cannot be reached by other commands: %v", err)
	} else {
		defer serving.Close()
	}
	if r.serve != "" {
		warn(os.Stderr, "serving at %s; the token is in %s", serving.Listens, filepath.Join(at.results, "worker.json"))
	}
	show = newDisplay(r.output.value, newTerminal(os.Stdout, os.Getenv), showing{
		plan: plan, id: at.id, driver: o.URL, runtime: o.Capabilities.Runtime, results: at.results,
		failed: func(err error) {
			if readerGone(err) {
				go in.gone("nobody reads the output any more") // it may close the display, which waits for this call
			}
		},
	})
	show.close = sync.OnceValue(show.close)
	defer show.close() // also if Run panics: the terminal must be put in order
	in.on(func(count int, why string) { r.interrupted(b, show, count, why) })
	outcome, err := b.Run(context.Background())
	outErr := show.close()
	spans.close()
	janitor.finish(outcome.State)
	return ended{outcome, err, outErr, at.results, show.tells}.finish()
}

// unusable is the error of a directory for results: what a person has chosen wrongly is a wrong use.
func unusable(err error) error {
	wrongly := func(cause error) bool { return errors.Is(err, cause) }
	if slices.ContainsFunc([]error{fs.ErrExist, syscall.ENOTDIR, journal.ErrNewer, worker.ErrOtherPlan}, wrongly) {
		return wrong(err)
	}
	return trouble(err)
}

// leftover says who removes what a build has left.
const leftover = "the next run, or \"wharf gc\", removes what is left"

// interrupted ends the build: gracefully, then by force, then at once.
func (r *running) interrupted(b *worker.Build, show *display, count int, why string) {
	switch count {
	case 1:
		show.notice(fmt.Sprintf("Stopping (%s): what runs has %v to end. Interrupt again to end it by force.", why, r.grace))
	case 2:
		show.notice("Ending by force. A third interrupt leaves at once and leaves the rest to \"wharf gc\".")
	default:
		closed := make(chan error, 1)
		go func() { closed <- show.close() }()
		select { // a terminal that was paused takes nothing
		case <-closed:
		case <-time.After(time.Second):
		}
		warn(os.Stderr, "left at once; %s", leftover)
		os.Exit(exitCancelled)
	}
	b.Cancel(why)
}

// ended is how everything about a build ended.
type ended struct {
	outcome worker.Outcome
	err     error // of the recording or the cleaning up
	output  error
	results string
	told    bool // the person has seen the outcome
}

// finish says what must be said after the display, and chooses the exit code.
func (e ended) finish() error {
	codes := map[worker.State]int{worker.Succeeded: exitOK, worker.Failed: exitFailed, worker.Errored: exitTrouble, worker.Cancelled: exitCancelled}
	code, known := codes[e.outcome.State]
	if !known {
		code = exitTrouble
	}
	if code != exitOK {
		if !e.told {
			warn(os.Stderr, "build %s: %s", e.outcome.State, e.outcome.Reason)
		}
		warn(os.Stderr, "logs and artifacts are in %s", e.results)
	}
	if e.err != nil {
		if e.err.Error() != e.outcome.Reason { // which has been said
			warn(os.Stderr, "%v", e.err)
		}
		if errors.Is(e.err, worker.ErrLeft) {
			warn(os.Stderr, "%s", leftover)
		}
		code = max(code, exitTrouble)
	}
	if e.output != nil && !readerGone(e.output) {
		warn(os.Stderr, "the output could not be written: %v", e.output)
		code = max(code, exitTrouble)
	}
	if code == exitOK {
		return nil
	}
	return &exit{code, nil}
}
