package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	all       bool
	output    *choice
	service   bool
	driver    string
	workerKey string
}

func newPS() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:   "ps [build...]",
		Short: "List the builds that run, and those that are kept",
		Long: `Lists the builds that "wharf run" runs for this user on this machine, with --all
also those that have ended and are kept; or the builds that are named: workers, and
those with results elsewhere; or, with --workers, the workers that a provisioner has
on the runtime, who relays each, and how many entries of its journal wharf-api has
not confirmed yet.

` + whichBuild,
		Example: `  wharf ps
  wharf ps --all
  wharf ps --workers --worker-key /etc/wharf/worker-key
  wharf ps ci-7.internal:7500 --token-file token --output json`,
		RunE: interruptible(l.run),
	}
	l.addTo(cmd)
	l.output = outputFlag(cmd, "table", "json")
	cmd.Flags().BoolVarP(&l.all, "all", "a", false, "also builds that have ended")
	cmd.Flags().BoolVar(&l.service, "workers", false, "the workers of a provisioner, on the runtime that --driver names")
	driverFlag(cmd, &l.driver)
	cmd.Flags().StringVar(&l.workerKey, "worker-key", "", "`file` with the secret that the workers' tokens are made from (default: that of the state directory)")
	return cmd
}

// row is a build in the list.
type row struct {
	ID      string     `json:"id"`
	State   string     `json:"state"`
	Reason  string     `json:"reason,omitempty"`
	Began   time.Time  `json:"began,omitzero"`
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
	if l.service {
		if len(args) > 0 {
			return wrong(errNamed)
		}
		return l.workers(ctx)
	}
	var rows []row
	var err error
	if len(args) > 0 {
		rows, err = l.named(ctx, args)
	} else {
		rows, err = l.kept(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && len(rows) == 0 {
		return err
	}
	return errors.Join(l.print(rows), err)
}

// named are the builds with these names. Those that cannot be read are told of, and do not hide the others: their error has only the exit code.
func (l *listing) named(ctx context.Context, names []string) ([]row, error) {
	var rows []row
	code := exitOK
	for _, name := range names {
		r, err := l.one(ctx, name)
		if ctx.Err() != nil {
			break
		}
		var e *exit
		if errors.As(err, &e) {
			warn(os.Stderr, "%v", err)
			code = max(code, e.code)
			continue
		}
		rows = append(rows, r)
	}
	if code != exitOK {
		return rows, &exit{code, nil}
	}
	return rows, nil
}

func (l *listing) one(ctx context.Context, name string) (row, error) {
	t, err := l.open(ctx, []string{name})
	if err != nil {
		return row{}, err
	}
	defer t.Close()
	b, err := t.Build(ctx)
	if err != nil {
		return row{}, unreadable(fmt.Errorf("%s: %w", name, err))
	}
	return newRow(b, t, ""), nil
}

// kept are the builds of this user: those that run or, with all, every one.
func (l *listing) kept(ctx context.Context) ([]row, error) {
	store, err := builds.Open()
	if err != nil {
		return nil, trouble(err)
	}
	kept, err := store.All()
	if err != nil {
		return nil, trouble(err)
	}
	rows := []row{}
	for _, k := range kept {
		t, err := target.OpenDir(ctx, k.Dir)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			warn(os.Stderr, "%s: %v", k.ID, err)
			continue
		}
		if t.Served() || l.all {
			if b, err := t.Build(ctx); err == nil {
				rows = append(rows, newRow(b, t, k.Project))
			} else if !errors.Is(err, fs.ErrNotExist) { // it has been removed meanwhile
				warn(os.Stderr, "%s: %v", k.ID, err)
			}
		}
		t.Close()
	}
	return rows, nil
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
		what := strings.Join(r.Steps, ", ")
		if what == "" {
			what = r.Reason
		}
		began, took := r.times()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", text.Line(r.ID), text.Line(r.State), began, took, r.Entries, text.Line(r.Project), text.Line(what))
	}
	if err := w.Flush(); err != nil && !readerGone(err) {
		return trouble(err)
	}
	return nil
}

// times are when the build began, and how long it took or has taken so far, as far as that is known.
func (r *row) times() (began, took string) {
	began, took = "-", "-"
	if r.Began.IsZero() {
		return began, took
	}
	began = r.Began.Local().Format("2006-01-02 15:04:05")
	switch {
	case r.Ended != nil:
		took = text.Duration(r.Ended.Sub(r.Began))
	case r.State != brokenOff:
		took = text.Duration(time.Since(r.Began))
	}
	return began, took
}
