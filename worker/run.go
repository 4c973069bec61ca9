package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
)

// engine is what one Run works with.
type engine struct {
	*Build
	d    driver.Driver
	caps driver.Capabilities
	j    *journal.Writer

	labels map[string]string
	doubt  atomic.Bool // something may have been made, or be made yet, without its answer having arrived
	made   *ledger
	found  found // tasks of an earlier process
	lanes  *lanes
	pulls  *pulls
	space  *workspace
	caches *caches
	// certificates returns the volume with the CA certificates, which the first call makes, or nothing if there are none.
	certificates func() (driver.VolumeID, error)
}

// Run runs the build to its end and removes everything it made on the runtime (unless Keep). It is called once.
// When ctx ends, or Cancel is called, steps that run are stopped within the grace time, and their logs are kept; nothing is
// begun any more. The error is what kept the build from being recorded or cleaned up (then it matches [ErrLeft]); how the build itself
// ended, also by trouble with the runtime, is the Outcome.
func (b *Build) Run(ctx context.Context) (Outcome, error) {
	b.mu.Lock()
	begun := b.begun
	b.begun = true
	b.mu.Unlock()
	if begun {
		return Outcome{State: Errored, Reason: "a build runs once"}, errors.New("worker: Run was called before")
	}
	defer context.AfterFunc(ctx, func() {
		b.stopCause(&verdict{Cancelled, context.Cause(ctx).Error()})
	})()

	defer func() {
		if b.cfg.Results == "" {
			_ = os.RemoveAll(b.dir)
		}
	}()
	if err := b.Open(); err != nil {
		return Outcome{State: Errored, Reason: err.Error()}, err
	}
	if b.past == nil {
		b.past = &past{}
	}
	e := &engine{Build: b, d: b.cfg.Driver, j: b.journal}
	observed := e.observe()
	out, err := e.record()
	err = errors.Join(err, b.journal.Close(), <-observed)
	return out, err
}

// Open makes the results directory and the journal in it, so that one that cannot be used is known before anything is shown or
// done. Run does it if it has not been called; after it Run must be called.
func (b *Build) Open() error {
	if b.journal != nil {
		return nil
	}
	dir, err := b.results()
	if err != nil {
		return err
	}
	b.dir = dir
	if b.cfg.Resume {
		if err := b.reopen(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	b.journal, err = journal.Create(dir, b.keeping())
	return err
}

// reopen goes on with the journal that an earlier process has left.
func (b *Build) reopen() error {
	if err := b.samePlan(); err != nil {
		return err
	}
	j, torn, err := journal.Reopen(b.dir, b.keeping())
	if err != nil {
		return err
	}
	if b.past, err = readPast(b.dir); err != nil {
		return errors.Join(err, j.Close())
	}
	b.journal = j
	if b.past.outcome != nil {
		return nil
	}
	text := "the process that ran the build has ended before it; another goes on"
	if torn > 0 {
		text += fmt.Sprintf(". The last %d bytes of the journal were not whole, and were cut off", torn)
	}
	j.Append(Event{Kind: KindWarning, Reason: text})
	return nil
}

func (b *Build) keeping() journal.Options {
	return journal.Options{Build: b.cfg.ID, Quota: b.cfg.Quota, StepLimit: b.cfg.StepLogLimit, BuildLimit: b.cfg.LogLimit}
}

// results returns the absolute path of the results directory.
func (b *Build) results() (string, error) {
	if b.cfg.Results == "" {
		return os.MkdirTemp("", "wharf-results-")
	}
	return filepath.Abs(b.cfg.Results)
}

// observe starts the observer; its result comes when it has been told everything.
func (e *engine) observe() <-chan error {
	done := make(chan error, 1)
	if e.cfg.Observe == nil {
		done <- nil
		return done
	}
	go func() { done <- e.j.Observe(e.cfg.Observe) }()
	return done
}

// record runs the build between its first and its last event.
func (e *engine) record() (Outcome, error) {
	if e.past.outcome != nil {
		return *e.past.outcome, nil
	}
	if e.past.began.IsZero() {
		e.j.Append(Event{Kind: KindBuild, State: Running})
	}
	defer e.watchJournal()()
	defer e.noteStop()()
	if e.cfg.Timeout > 0 {
		t := time.AfterFunc(left(e.cfg.Timeout, e.past.began), func() {
			e.halt(Failed, "the build took longer than its time-out of %s", e.cfg.Timeout)
		})
		defer t.Stop()
	}
	out, err := e.guarded()
	if failure := e.j.Err(); failure != nil && out.State == Succeeded {
		out = Outcome{Errored, failure.Error()} // a log that is not whole is no success
	}
	e.j.Append(Event{Kind: KindBuild, State: out.State, Reason: out.Reason})
	return out, err
}

// noteStop records that the build is being stopped, so that a process that goes on with it knows; and knows it of an earlier one.
func (e *engine) noteStop() func() bool {
	if v := e.past.stop; v != nil {
		e.stopCause(v)
	}
	return context.AfterFunc(e.stop, func() {
		if v := e.stopped(); e.past.stop == nil && v != nil && v != over {
			e.j.Append(Event{Kind: KindStop, State: v.state, Reason: v.reason})
		}
	})
}

// watchJournal stops the build when the journal can take no more.
func (e *engine) watchJournal() func() {
	done := make(chan struct{})
	go func() {
		select {
		case <-e.j.Failed():
			e.halt(Errored, "%v", e.j.Err())
		case <-done:
		}
	}()
	return func() { close(done) }
}

// guarded runs the build under its lease, with nothing left behind.
func (e *engine) guarded() (Outcome, error) {
	errored := func(err error) (Outcome, error) {
		if v := e.stopped(); v != nil {
			return Outcome{v.state, v.reason}, nil
		}
		return Outcome{Errored, e.mask.String(err.Error())}, nil
	}
	if err := e.storePlan(); err != nil {
		e.j.Fail(err)
		return errored(e.j.Err())
	}
	state := e.cfg.State
	if state == nil {
		var err error
		if state, err = lease.Open(""); err != nil {
			return errored(err)
		}
	}
	caps, err := e.d.Capabilities(e.stop)
	if err != nil {
		return errored(err)
	}
	if err := e.fits(caps); err != nil {
		return errored(err)
	}
	held := e.cfg.Lease
	if held == nil {
		if held, err = state.Take(e.cfg.ID); err != nil {
			return errored(err)
		}
	}
	e.prepareRun(caps, state)
	if err := e.find(); err != nil {
		return errored(errors.Join(err, held.Leave()))
	}
	out := e.stages()
	err = e.cleanUp()
	if err != nil {
		e.warn("", "%v", err)
	}
	if err != nil || e.doubt.Load() || e.cfg.Keep {
		return out, errors.Join(err, held.Leave()) // what is left, or appears only now, is collected
	}
	return out, held.Release()
}

// prepareRun sets up what the stages share, and begins what can be made ahead.
func (e *engine) prepareRun(caps driver.Capabilities, state *lease.Dir) {
	e.caps = caps
	e.labels = map[string]string{}
	for k, v := range e.cfg.Labels {
		e.labels[k] = v
	}
	for k, v := range state.Labels(e.cfg.ID) {
		e.labels[k] = v
	}
	if e.cfg.Keep {
		e.labels[lease.LabelKeep] = "true"
	}
	e.made = &ledger{e: e}
	e.pulls = &pulls{e: e, byImage: map[string]*pull{}}
	e.caches = &caches{e: e, byName: map[string]*cache{}}
	e.certificates = sync.OnceValues(e.fillCertificates)
	e.space = newWorkspace(e)
}

// ErrOtherPlan is matched by the error of a build that would be gone on with by another plan than the one it was begun with.
var ErrOtherPlan = errors.New("the plan has changed since the build began")

// samePlan sees that the plan is the one that the build in the results directory was begun with.
func (b *Build) samePlan() error {
	path := filepath.Join(b.dir, journal.PlanFile)
	stored, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has not come so far, or there is no build
	}
	if err != nil {
		return err
	}
	text, err := b.planText()
	if err == nil && !bytes.Equal(stored, text) {
		err = fmt.Errorf("%w, so nobody can go on with it; %s has the earlier one", ErrOtherPlan, path)
	}
	return err
}

// storePlan writes the plan to the results.
func (b *Build) storePlan() error {
	text, err := b.planText()
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(b.dir, journal.PlanFile), text)
}

// writeWhole writes a file that is there whole or not at all.
func writeWhole(path string, text []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// planText is the plan without the secrets.
func (b *Build) planText() ([]byte, error) {
	text, err := json.Marshal(b.cfg.Plan)
	if err != nil {
		return nil, err
	}
	var plan map[string]any
	if err := json.Unmarshal(text, &plan); err != nil {
		return nil, err
	}
	delete(plan, "secrets")
	text, err = json.MarshalIndent(b.hide(plan), "", "  ")
	return append(text, '\n'), err
}

// hide masks the secrets in the strings of a JSON value.
func (b *Build) hide(v any) any {
	switch v := v.(type) {
	case string:
		return b.mask.String(v)
	case []any:
		for i := range v {
			v[i] = b.hide(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = b.hide(v[k])
		}
	}
	return v
}

// warn tells what fails nothing; step may be empty.
func (e *engine) warn(step, format string, args ...any) {
	e.j.Append(Event{Kind: KindWarning, Step: step, Reason: e.mask.String(fmt.Sprintf(format, args...))})
}

// with returns the build's labels and more.
func (e *engine) with(more map[string]string) map[string]string {
	labels := make(map[string]string, len(e.labels)+len(more))
	for k, v := range e.labels {
		labels[k] = v
	}
	for k, v := range more {
		labels[k] = v
	}
	return labels
}
