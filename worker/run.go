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
	"github.com/wharfci/wharf/worker/internal/whole"
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
		b.stopFor(&verdict{Cancelled, context.Cause(ctx).Error()})
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
	end := b.journal.Close
	if errors.Is(err, ErrNotResumed) {
		end = b.journal.Abandon
	}
	return out, errors.Join(err, end(), <-observed)
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
	j, err := b.openJournal()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.journal = j
	return err
}

// openJournal makes a journal, or goes on with one.
func (b *Build) openJournal() (*journal.Writer, error) {
	if b.cfg.Resume {
		j, err := b.reopen()
		if !errors.Is(err, fs.ErrNotExist) {
			return j, err
		}
	}
	return journal.Create(b.dir, b.keeping())
}

// reopen goes on with the journal that an earlier process has left.
func (b *Build) reopen() (*journal.Writer, error) {
	if err := b.samePlan(); err != nil {
		return nil, err
	}
	j, torn, err := journal.Reopen(b.dir, b.keeping())
	if err != nil {
		return nil, err
	}
	b.past, err = readPast(b.dir)
	if err == nil && b.past.outcome == nil && j.Header().Host != b.keeping().Host {
		err = fmt.Errorf("the build in %s was begun with another state directory, or on another machine: what it has made on the runtime could not be told apart there", b.dir)
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	if b.past.outcome != nil {
		return j, nil
	}
	text := "the process that ran the build has ended before it; another goes on"
	if torn > 0 {
		text += fmt.Sprintf(". The last %d bytes of the journal were not whole, and were cut off", torn)
	}
	j.Append(Event{Kind: KindWarning, Reason: text})
	if err := j.Err(); err != nil { // nothing has happened yet: it is tried again when there is room
		_ = j.Abandon()
		return nil, fmt.Errorf("%w: %w", ErrNotResumed, err)
	}
	return j, nil
}

func (b *Build) keeping() journal.Options {
	host := ""
	if b.cfg.State != nil {
		host = b.cfg.State.Host()
	}
	return journal.Options{Build: b.cfg.ID, Host: host, Quota: b.cfg.Quota, StepLimit: b.cfg.StepLogLimit, BuildLimit: b.cfg.LogLimit}
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
	e.mu.Lock()
	early := e.early
	e.mu.Unlock()
	early.note(e.j)
	if v := e.past.stop; v != nil {
		e.stopping.Do(func() { e.stopCause(v) })
	}
	defer e.watchJournal()()
	if e.cfg.Timeout > 0 {
		t := time.AfterFunc(left(e.cfg.Timeout, e.past.began), func() {
			e.halt(Failed, "the build took longer than its time-out of %s", e.cfg.Timeout)
		})
		defer t.Stop()
	}
	out, err := e.guarded()
	if errors.Is(err, ErrNotResumed) {
		return out, err
	}
	if failure := e.j.Err(); failure != nil && out.State == Succeeded {
		out = Outcome{Errored, failure.Error()} // a log that is not whole is no success
	}
	e.j.Append(Event{Kind: KindBuild, State: out.State, Reason: out.Reason})
	return out, err
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

// ErrNotResumed is matched by the error of [Build.Open] and [Build.Run] if a build could not be gone on with, because the runtime or the disk did not do its part. Nothing has changed then:
// it can be tried again.
var ErrNotResumed = errors.New("the build could not be gone on with")

// guarded runs the build under its lease, with nothing left behind.
func (e *engine) guarded() (Outcome, error) {
	errored := func(err error) (Outcome, error) {
		if e.past.resumed {
			return Outcome{Errored, e.mask.String(err.Error())}, fmt.Errorf("%w: %w", ErrNotResumed, err)
		}
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
	asking := e.stop
	if e.past.resumed { // also of one that is being stopped: what runs has to be found
		asking = e.patience
	}
	caps, err := e.d.Capabilities(asking)
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
	e.lanes = newLanes(e)
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

// storePlan writes the plan to the results, unless an earlier process has.
func (b *Build) storePlan() error {
	path := filepath.Join(b.dir, journal.PlanFile)
	if _, err := os.Stat(path); err == nil && b.past.resumed {
		return nil
	}
	text, err := b.planText()
	if err != nil {
		return err
	}
	return whole.WriteFile(path, text, 0o644)
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
