package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wharfci/wharf/cmd/wharf/internal/builds"
	"github.com/wharfci/wharf/cmd/wharf/internal/target"
	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// listing is what "wharf ps" lists.
type listing struct {
	targeted
	all    bool
	output *choice
}

func newPS() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:   "ps [build...]",
		Short: "List the builds that run, and those that are kept",
		Long: `Lists the builds that "wharf run" runs for this user on this machine, with --all
also those that have ended and are kept; or the builds that are named: workers, and
those with results elsewhere.

` + whichBuild,
		Example: `  wharf ps
  wharf ps --all
  wharf ps ci-7.internal:7500 --token-file token --output json`,
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd.Context(), args) },
	}
	l.addTo(cmd)
	l.output = outputFlag(cmd, "table", "json")
	cmd.Flags().BoolVarP(&l.all, "all", "a", false, "also builds that have ended")
	return cmd
}

// row is a build in the list.
type row struct {
	ID      string     `json:"id"`
	State   string     `json:"state"`
	Reason  string     `json:"reason,omitempty"`
	Began   time.Time  `json:"began"`
	Ended   *time.Time `json:"ended,omitempty"`
	Steps   []string   `json:"running"`
	Entries uint64     `json:"entries"`
	Claimed string     `json:"claimed_by,omitempty"`
	Runtime string     `json:"runtime,omitempty"`
	Project string     `json:"project,omitempty"`
	Results string     `json:"results,omitempty"`
}

// brokenOff is the state of a build whose process has gone without an end on record.
const brokenOff = "broken off"

func (l *listing) run(ctx context.Context, args []string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	rows := []row{}
	if len(args) > 0 {
		for _, name := range args {
			t, err := l.open(ctx, []string{name})
			if err != nil {
				return err
			}
			b, err := t.Build(ctx)
			t.Close()
			if err != nil {
				return unreadable(fmt.Errorf("%s: %w", name, err))
			}
			rows = append(rows, newRow(b, t, ""))
		}
		return l.print(rows)
	}
	store, err := builds.Open()
	if err != nil {
		return trouble(err)
	}
	kept, err := store.All()
	if err != nil {
		return trouble(err)
	}
	for _, k := range kept {
		t, err := target.Open(ctx, k.Dir, target.Remote{})
		if err != nil {
			continue // it has been removed meanwhile
		}
		if t.Served() || l.all {
			if b, err := t.Build(ctx); err == nil {
				rows = append(rows, newRow(b, t, k.Project))
			} else {
				warn(os.Stderr, "%v", err)
			}
		}
		t.Close()
	}
	return l.print(rows)
}

func newRow(b client.Build, t *target.Target, project string) row {
	r := row{ID: b.ID, State: string(b.State), Reason: b.Reason, Began: b.Began, Entries: b.Last, Claimed: b.ClaimedBy, Runtime: b.Runtime, Project: project, Results: t.Dir, Steps: []string{}}
	if !b.State.Final() && !t.Served() {
		r.State = brokenOff
	}
	if !b.Ended.IsZero() {
		r.Ended = &b.Ended
	}
	for _, s := range b.Steps {
		if s.State == journal.Running && r.State != brokenOff {
			r.Steps = append(r.Steps, s.ID)
		}
	}
	return r
}

func (l *listing) print(rows []row) error {
	if l.output.value == "json" {
		return printJSON(rows)
	}
	if len(rows) == 0 {
		fmt.Println("no build runs; --all lists those that are kept")
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUILD\tSTATE\tBEGAN\tTOOK\tENTRIES\tPROJECT\tWHAT")
	for _, r := range rows {
		took := time.Since(r.Began)
		if r.Ended != nil {
			took = r.Ended.Sub(r.Began)
		}
		what := strings.Join(r.Steps, ", ")
		if what == "" {
			what = r.Reason
		}
		span := text.Duration(took)
		if r.State == brokenOff {
			span = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", r.ID, r.State, r.Began.Local().Format("2006-01-02 15:04:05"), span, r.Entries, text.Line(r.Project), text.Line(what))
	}
	if err := w.Flush(); err != nil && !readerGone(err) {
		return trouble(err)
	}
	return nil
}
