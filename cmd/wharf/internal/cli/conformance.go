package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/conformance"
	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/driver/drivertest"
)

// conforming are the flags of "wharf conformance".
type conforming struct {
	driver, match, program, registry, node string
	list, serve                            bool
	parallel                               int
	slow                                   float64
	output                                 *choice
}

func newConformance() *cobra.Command {
	var c conforming
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Find out whether builds will work on a container runtime",
		Long: `Runs the conformance suite of Wharf's drivers on a runtime: some 250 rules about
results, logs, files, volumes, networks, images and limits, each of which a
build may rely on. Of a rule that does not hold it prints the sentence of the
contract and what happened instead.

It makes containers, volumes, networks and images of its own, beside whatever
else is there, and removes them, also when it is interrupted. Images come from
a registry that it serves on this machine; no other machine is reached.

Exit codes: 0 every rule holds, 1 some do not, 2 wrong use, 3 the suite could
not run, 130 interrupted.`,
		Example: `  wharf conformance --driver docker
  wharf conformance --list
  wharf conformance --run '^(results|logs)/'
  wharf conformance --driver docker:///run/other.sock --output junit > report.xml
  wharf conformance --driver kubernetes --node-containerd /run/containerd/containerd.sock`,
		Args: cobra.NoArgs,
	}
	driverFlag(cmd, &c.driver)
	f := cmd.Flags()
	f.StringVar(&c.match, "run", "", "only the rules whose id matches the regular `expression`")
	f.BoolVar(&c.list, "list", false, "print the rules and run nothing")
	c.output = outputFlag(cmd, "text", "json", "junit")
	f.IntVar(&c.parallel, "parallel", 0, "how many rules to look at at once (default 4)")
	f.Float64Var(&c.slow, "slow", 1, "multiply every time limit, for a slow runtime")
	f.StringVar(&c.program, "program", "", "a `file` with a wharf for the runtime's containers: for Linux, without cgo (default: this one)")
	f.StringVar(&c.registry, "registry-host", "", "this machine's `address` as the runtime sees it when it pulls images (default 127.0.0.1)")
	f.StringVar(&c.node, "node-containerd", "", "for Kubernetes: the `socket` of the containerd of the node that this is, on which all tasks run")
	f.BoolVar(&c.serve, "serve", false, "be the second process of a suite")
	if err := f.MarkHidden("serve"); err != nil {
		panic(err) // there is no such flag
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if c.serve {
			return c.serveSuite(cmd.Context())
		}
		return c.start()
	}
	return cmd
}

// options are what the flags choose.
func (c *conforming) options() (drivertest.Options, error) {
	opts := drivertest.Options{Parallel: c.parallel}
	if c.parallel < 0 {
		return opts, wrong(errors.New("--parallel: must not be negative"))
	}
	if c.slow < 1 {
		return opts, wrong(errors.New("--slow: must be 1 or more"))
	}
	if c.match != "" {
		expr, err := regexp.Compile(c.match)
		if err != nil {
			return opts, wrong(fmt.Errorf("--run %q: %w", c.match, err))
		}
		opts.Match = expr
	}
	if len(opts.Matching()) == 0 {
		return opts, wrong(fmt.Errorf("--run %q: no rule has such an id; wharf conformance --list shows them", c.match))
	}
	return opts, nil
}

func (c *conforming) start() error {
	opts, err := c.options()
	if err != nil {
		return err
	}
	if c.list {
		return c.printList(opts.Matching())
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	in := watch(func(_ int, why string) { cancel(errors.New(why)) })
	defer in.stop()
	o, err := openDriver(ctx, c.driver)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	if err := o.Driver.Close(); err != nil {
		return trouble(err)
	}
	t, err := c.harness(ctx, o)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer t.Close()
	run := conformance.Run{Driver: o.URL, Runtime: o.Capabilities.Runtime, Cases: opts.Matching(), Began: time.Now()}
	p, notice := c.printer(run)
	in.on(func(count int, why string) {
		if count > 1 {
			warn(os.Stderr, "left at once: what the suite has made is still on the runtime, under owners that begin with \"dt-\"")
			os.Exit(exitCancelled)
		}
		notice(fmt.Sprintf("Stopping (%s): removing what the suite has made. Interrupt again to leave at once.", why))
		cancel(errors.New(why))
	})
	opts.Begin, opts.Observe = p.Begin, p.Observe
	reports, err := drivertest.Check(ctx, t.Harness, opts)
	return c.finish(ctx, p, reports, err)
}

// finish ends the display and chooses the exit code.
func (c *conforming) finish(ctx context.Context, p conformance.Printer, reports []drivertest.Report, err error) error {
	outErr := p.End(reports, ctx.Err() != nil)
	switch {
	case ctx.Err() != nil:
		return interruptedOr(ctx, err)
	case err != nil:
		return trouble(err)
	case outErr != nil && !readerGone(outErr):
		return trouble(fmt.Errorf("the output could not be written: %w", outErr))
	}
	for _, r := range reports {
		if !r.Passed() {
			return &exit{exitFailed, nil}
		}
	}
	return nil
}

// interruptedOr is the error of a command that was interrupted, or else err.
func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return &exit{exitCancelled, fmt.Errorf("interrupted: %w", context.Cause(ctx))}
}

func (c *conforming) printList(cases []drivertest.Case) error {
	var err error
	switch c.output.value {
	case "json":
		err = conformance.ListJSON(os.Stdout, cases)
	case "junit":
		return wrong(errors.New("--list has no results, which is what --output junit is for; use text or json"))
	default:
		err = conformance.List(os.Stdout, cases)
	}
	if err != nil && !readerGone(err) {
		return trouble(err)
	}
	return nil
}

// printer returns what shows the run, and what tells the person something meanwhile.
func (c *conforming) printer(run conformance.Run) (p conformance.Printer, notice func(string)) {
	t := newTerminal(os.Stdout, os.Getenv)
	switch {
	case c.output.value == "json":
		return conformance.NewJSON(os.Stdout, run), toStderr
	case c.output.value == "junit":
		return conformance.NewJUnit(os.Stdout, run), toStderr
	case t.is && !t.ci && runtime.GOOS != "windows":
		live := conformance.NewLive(os.Stdout, run)
		return live, live.Notice
	}
	return conformance.NewPlain(os.Stdout, run), toStderr
}

// harness is that of the runtime, and what this program adds: its own image, and itself as the second process.
func (c *conforming) harness(ctx context.Context, o *drivers.Opened) (*drivers.Tested, error) {
	t, err := drivers.Harness(ctx, o.URL, c.node)
	if usage := new(drivers.UsageError); errors.As(err, &usage) {
		return nil, wrong(err)
	}
	if err != nil {
		return nil, trouble(err)
	}
	if err := c.complete(t, o.Capabilities.Arch); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (c *conforming) complete(t *drivers.Tested, arch string) error {
	h := &t.Harness
	h.Slow = c.slow
	if c.registry != "" {
		h.RegistryHost = c.registry
	}
	var err error
	if !h.Loaded {
		h.Images.Temporary = true
		if h.Images.Program, err = conformance.Program(c.program, arch); err != nil {
			return wrong(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return trouble(err)
	}
	h.Process = func(ctx context.Context, owner string) *exec.Cmd {
		url, err := drivers.For(t.URL, owner)
		cmd := exec.CommandContext(ctx, self, "conformance", "--serve", "--driver", url)
		cmd.Args[0], cmd.Err = os.Args[0], err
		return cmd
	}
	return nil
}

// serveSuite is the other end of harness's Process.
func (c *conforming) serveSuite(ctx context.Context) error {
	o, err := openDriver(ctx, c.driver)
	if err != nil {
		return err
	}
	defer o.Driver.Close()
	if err := drivertest.Serve(ctx, o.Driver, os.Stdin, os.Stdout); err != nil {
		return trouble(err)
	}
	return nil
}
