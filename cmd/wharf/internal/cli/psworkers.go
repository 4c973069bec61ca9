package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/cmd/wharf/internal/text"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/worker/client"
)

// workerRow is a worker of a provisioner in the list.
type workerRow struct {
	Worker   string `json:"worker"`
	Build    uint64 `json:"build"`
	Instance string `json:"instance"`
	Project  string `json:"project,omitempty"`
	// Task is the state of its task, as the runtime has it, and Build's own state if the worker tells.
	Task    string `json:"task"`
	State   string `json:"state,omitempty"`
	Entries uint64 `json:"entries"`
	Taken   uint64 `json:"taken"`
	Claimed string `json:"claimed_by,omitempty"`
	// Behind is how many entries of its journal have not been confirmed by who takes the results.
	Behind uint64 `json:"behind"`
	Reason string `json:"reason,omitempty"`
}

// Bounds of asking workers.
const (
	askedAtOnce = 16
	answerBound = 10 * time.Second
)

// workers lists the workers that provisioners have on a runtime, and how far their results have been taken.
func (l *listing) workers(ctx context.Context) error {
	key, err := readWorkerKey(l.workerKey)
	if err != nil {
		return wrong(err)
	}
	o, err := openWith(ctx, l.driver, drivers.OpenWorkers)
	if err != nil {
		return err
	}
	defer o.Driver.Close()
	tasks, err := o.Driver.List(ctx, driver.ListOptions{Labels: map[string]string{provisioner.LabelRole: provisioner.RoleWorker}})
	if err != nil {
		return trouble(err)
	}
	rows := make([]workerRow, len(tasks))
	slots := make(chan struct{}, askedAtOnce)
	var asking sync.WaitGroup
	for i, t := range tasks {
		w := provisioner.WorkerOf(t)
		rows[i] = workerRow{
			Worker: w.ID, Build: w.Build, Instance: w.Instance, Project: strings.Trim(w.Project.Group+"/"+w.Project.Name, "/"), Task: t.State.String(), Reason: t.Reason,
		}
		if t.State != driver.StateRunning {
			continue
		}
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			rows[i].ask(ctx, o.Driver, t.ID, key)
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	slices.SortFunc(rows, func(a, b workerRow) int { return cmp.Compare(a.Build, b.Build) })
	return l.printWorkers(rows)
}

// ask asks the worker itself.
func (r *workerRow) ask(ctx context.Context, d driver.Driver, task driver.TaskID, key []byte) {
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	c, err := aggregator.Dial(d, key, r.Worker, task)
	if err == nil {
		defer c.Close()
		var b client.Build
		if b, err = c.Build(ctx, false); err == nil {
			r.State, r.Reason, r.Entries, r.Taken, r.Claimed = string(b.State), b.Reason, b.Last, b.Taken, b.ClaimedBy
			r.Behind = b.Last - min(b.Taken, b.Last)
			return
		}
	}
	r.Reason = "it does not answer: " + err.Error()
}

func (l *listing) printWorkers(rows []workerRow) error {
	if l.output.value == "json" {
		return printJSON(rows)
	}
	if len(rows) == 0 {
		fmt.Println("there is no worker")
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUILD\tINSTANCE\tPROJECT\tTASK\tSTATE\tENTRIES\tBEHIND\tTAKEN BY\tWHAT")
	for _, r := range rows {
		behind := "-"
		if r.State != "" {
			behind = fmt.Sprint(r.Behind)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", r.Build, text.Line(r.Instance), text.Line(r.Project), r.Task, cmp.Or(text.Line(r.State), "-"), r.Entries, behind,
			cmp.Or(text.Line(r.Claimed), "-"), text.Line(r.Reason))
	}
	if err := w.Flush(); err != nil && !readerGone(err) {
		return trouble(err)
	}
	return nil
}

// errNamed is the error of builds that are named where all workers are listed.
var errNamed = errors.New("--workers lists all workers of the runtime; name no build")
