package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/jsonout"
	"github.com/wharfci/wharf/cmd/wharf/internal/outlet"
	"github.com/wharfci/wharf/cmd/wharf/internal/plain"
	"github.com/wharfci/wharf/cmd/wharf/internal/target"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/client"
)

// logging is what "wharf logs" prints.
type logging struct {
	targeted
	read   client.ReadOptions
	output *choice
}

func newLogs() *cobra.Command {
	var l logging
	cmd := &cobra.Command{
		Use:   "logs [build]",
		Short: "Print what happened in a build, or follow one that runs",
		Long: `Prints the journal of a build: its log lines and states, as "wharf run" has shown
them.

` + whichBuild,
		Example: `  wharf logs
  wharf logs --follow --step test--unit
  wharf logs 06hn2 --output json --after 1000
  wharf logs ci-7.internal:7500 --token-file token`,
		Args: cobra.MaximumNArgs(1),
		RunE: interruptible(l.run),
	}
	l.addTo(cmd)
	l.output = outputFlag(cmd, "plain", "json")
	f := cmd.Flags()
	f.BoolVarP(&l.read.Follow, "follow", "f", false, "go on with what is still to come, to the build's end")
	f.StringVarP(&l.read.Step, "step", "s", "", "only this step, by its ID (STAGE--STEP) or as STAGE/STEP")
	f.Uint64Var(&l.read.After, "after", 0, "begin behind the entry of this `number`")
	return cmd
}

func (l *logging) run(ctx context.Context, args []string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t, plan, err := l.openStep(ctx, args, &l.read.Step)
	if err != nil {
		return err
	}
	defer t.Close()
	out := outlet.New(os.Stdout, func(error) { stop() })
	observe, finish := l.printer(out, plan)
	served := t.Served()
	err = l.copy(ctx, t, observe)
	finish()
	if outErr := out.Close(); outErr != nil && !readerGone(outErr) {
		return trouble(fmt.Errorf("the output could not be written: %w", outErr))
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &exit{exitCancelled, nil}
	case errors.Is(err, target.ErrBrokenOff) && !served: // so it was before anyone looked
		warn(os.Stderr, "%v", err)
		return nil
	}
	return unreadable(err)
}

// printer returns what prints events, and what ends it.
func (l *logging) printer(out *outlet.Writer, plan *pipeline.Plan) (observe func([]worker.Event), finish func()) {
	if l.output.value == "json" {
		return jsonout.New(out, plan).Observe, func() {}
	}
	p := plain.New(out, plan, newTerminal(os.Stdout, os.Getenv).colour)
	return p.Observe, p.Close
}

// copy hands the events over.
func (l *logging) copy(ctx context.Context, t *target.Target, observe func([]worker.Event)) error {
	one := make([]worker.Event, 1)
	for e, err := range t.Events(ctx, l.read) {
		if err != nil {
			return err
		}
		one[0] = e
		observe(one)
	}
	return nil
}

// stepID returns the ID of a step that a person names.
func stepID(plan *pipeline.Plan, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	var known []string
	for _, stage := range plan.Stages {
		for _, s := range stage.Steps {
			if s.ID == name || stage.Name+"/"+s.Name == name {
				return s.ID, nil
			}
			known = append(known, s.ID)
		}
	}
	if len(known) == 0 { // the plan has not been stored
		return name, nil
	}
	slices.Sort(known)
	return "", fmt.Errorf("the build has no step %q; it has %s", name, strings.Join(known, ", "))
}
