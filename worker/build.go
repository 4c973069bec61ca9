package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
	"github.com/wharfci/wharf/worker/mask"
)

// Workspace is where steps see the repository; it is their working directory.
const Workspace = "/workspace"

// Labels of what a build makes, beside those of package lease.
const (
	// LabelStep is the full ID of the step that a task runs, and LabelAttempt which attempt it is.
	LabelStep    = "step"
	LabelAttempt = "attempt"
	// LabelCache is the key of a cache and LabelProject the project that it belongs to, both shortened; caches have no [lease.LabelBuild].
	LabelCache   = "cache"
	LabelProject = "project"
)

// Config says what to build, where, and how. Driver and Plan are required; the zero value of every other field is good.
type Config struct {
	// ID names the build: on the runtime, in labels, and in its lease: at most 32 characters of a driver's name.
	// Empty is a [NewID].
	ID     string
	Driver driver.Driver
	Plan   *pipeline.Plan
	// Repository is the directory that fills the workspace; empty leaves the workspace empty.
	Repository string
	// CopyIgnored copies also what .gitignore excludes.
	CopyIgnored bool
	// Results is the directory that takes the journal, logs and artifacts; it is made if it does not exist, and must not
	// hold another build. Empty is a temporary directory that goes away at the end of Run.
	Results string
	// Resume goes on with the build that Results holds, if there is one, whose process has ended, however it did. The plan must be the one
	// that it was begun with, and ID, if it is not empty, the build's.
	Resume bool
	// Quota bounds the bytes of the logs; a build that writes more is stopped and has errored. 0 is no bound.
	Quota int64
	// StepLogLimit and LogLimit bound the bytes of each step's log and of all logs together. What goes beyond is not kept: the log says
	// so where it ends, and a warning how much it was; the build goes on. 0 is no limit.
	StepLogLimit, LogLimit int64
	// Parallel bounds the steps that run at once; 0 is the number of CPUs. The plan's own bound holds too.
	Parallel int
	// Timeout bounds the build; 0 is the plan's.
	Timeout time.Duration
	// Grace is the time between TERM and KILL when a step is stopped; 0 is 10 seconds.
	Grace time.Duration
	// Pull says when images are fetched.
	Pull driver.PullPolicy
	// Labels are put on everything that the build makes on the runtime.
	Labels map[string]string
	// Keep leaves containers and volumes on the runtime for a look at them.
	Keep bool
	// State is where the build's lease is; nil is the user's own state directory.
	State *lease.Dir
	// Lease is the build's lease, if it has been taken from State already; nil lets Run take it. Run gives it back.
	Lease *lease.Lease

	// Project names the project whose caches the build uses; empty is the absolute path of Repository.
	Project string
	// Secrets is the installation's store of project secrets: a directory in which the secret NAME is a directory (one file a key) or a
	// file (lines of KEY=value) called "wharf-INSTANCE-project-PROJECT_ID-secretname-NAME". Empty: there are none.
	Secrets string
	// Instance and ProjectID are parts of such names.
	Instance, ProjectID string
	// Certificates is a directory with the installation's CA certificates, for steps that want them.
	Certificates string

	// Observe, if not nil, is called with the build's events, in order, in batches, from one goroutine. The slice is valid
	// during the call only. What an observer that is slow has not taken yet waits on disk: it slows neither the
	// steps nor their logs, but Run returns only when it has taken everything.
	Observe func([]Event)
}

// Outcome is how a build ended.
type Outcome struct {
	// State is Succeeded, Failed, Errored or Cancelled.
	State State
	// Reason names the step that decided, and the cause; empty if the build succeeded.
	Reason string
}

// Build is one run of a plan.
type Build struct {
	cfg     Config
	secrets map[string]map[string]string // by the ID of the step
	mask    *mask.Secrets
	dir     string          // results
	journal *journal.Writer // nil before Open
	past    *past           // of an earlier process

	// stop ends when the build is stopped, force when that is to be done at once, patience when it must be over: from then on
	// nothing waits for the runtime.
	stop, force, patience                context.Context
	stopCause, forceCause, outOfPatience context.CancelCauseFunc
	mu                                   sync.Mutex
	cancelled, begun                     bool
	stopping                             sync.Once
	early                                *verdict // that came before the journal was there
}

// New checks cfg and returns a build that has not begun. Nothing is made yet. The error names
// everything that would keep the build from running at all, as far as it can be known without the runtime.
func New(cfg Config) (*Build, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &Build{cfg: cfg, secrets: map[string]map[string]string{}}
	if err := b.check(); err != nil {
		return nil, err
	}
	hidden := append([]string(nil), cfg.Plan.Secrets...)
	for _, env := range b.secrets {
		for _, v := range env {
			hidden = append(hidden, v)
		}
	}
	b.mask = mask.New(hidden...)
	b.stop, b.stopCause = context.WithCancelCause(context.Background())
	b.force, b.forceCause = context.WithCancelCause(context.Background())
	b.patience, b.outOfPatience = context.WithCancelCause(context.Background())
	return b, nil
}

// ID returns the build's ID.
func (b *Build) ID() string { return b.cfg.ID }

// Results returns the absolute path of the results directory, once the build has been opened.
func (b *Build) Results() string { return b.dir }

// Journal returns what writes the build's journal, once the build has been opened.
func (b *Build) Journal() *journal.Writer { return b.journal }

// Cancel stops the build: the first call gracefully, the second by force: what runs is killed at once, and Run returns within 15
// seconds, also if the runtime does not answer. Any goroutine may call it, at any time.
func (b *Build) Cancel(reason string) {
	b.mu.Lock()
	again := b.cancelled
	b.cancelled = true
	b.mu.Unlock()
	b.Stop(reason, again)
}

// Stop stops the build gracefully, or by force. A second call without force does nothing. See Cancel.
func (b *Build) Stop(reason string, force bool) {
	if reason == "" {
		reason = "cancelled"
	}
	b.stopFor(&verdict{Cancelled, reason})
	b.mu.Lock()
	defer b.mu.Unlock()
	if force && b.force.Err() == nil {
		b.forceCause(&verdict{Cancelled, reason})
		time.AfterFunc(forcedBound, func() {
			b.outOfPatience(fmt.Errorf("the runtime did not do it within %s", forcedBound))
		})
	}
	b.cancelled = true
}

// stopFor stops the build; the first reason counts. It is in the journal before anything follows from it, for whoever goes on with the build.
func (b *Build) stopFor(v *verdict) {
	b.stopping.Do(func() {
		b.mu.Lock()
		j := b.journal
		if j == nil {
			b.early = v
		}
		b.mu.Unlock()
		v.note(j)
		b.stopCause(v)
	})
}

// verdict is why a build is stopped, and what it is then.
type verdict struct {
	state  State
	reason string
}

func (v *verdict) Error() string { return v.reason }

// note writes the verdict to a journal, if both are there.
func (v *verdict) note(j *journal.Writer) {
	if v != nil && j != nil {
		j.Append(Event{Kind: KindStop, State: v.state, Reason: v.reason})
	}
}

// halt stops the build for a reason of its own; the first reason counts.
func (b *Build) halt(state State, format string, args ...any) {
	b.stopFor(&verdict{state, b.mask.String(fmt.Sprintf(format, args...))})
}

// stopped returns why the build is being stopped, or nil.
func (b *Build) stopped() *verdict {
	v, _ := context.Cause(b.stop).(*verdict)
	return v
}
