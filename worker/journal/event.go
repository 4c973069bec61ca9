package journal

import (
	"fmt"
	"strings"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Kind says what an [Event] tells.
type Kind string

// The kinds of events. Their values are what `wharf run --output json` prints, and do not change.
const (
	// KindBuild: the build's state changed; State is set, and Reason once it has ended.
	KindBuild Kind = "build"
	// KindStage: a stage's state changed; Stage and State are set, Reason if it was skipped or failed.
	KindStage Kind = "stage"
	// KindStep: a step's state changed; Stage, Step, State, Attempt are set, Result and Phases once it has ended.
	KindStep Kind = "step"
	// KindLog: a line of a step's log; Step, Stream, Container, Line are set.
	KindLog Kind = "log"
	// KindStop: the build is being stopped; State is what it will be, and Reason says why.
	KindStop Kind = "stop"
	// KindPull: how far an image's pull is; Image, Done, Total, Status are set. Not part of the journal: Seq is 0.
	KindPull Kind = "pull"
	// KindWarning: something that a person should know and that fails nothing; Reason is set, Step if it belongs to one. If Attempt is
	// set too, that attempt has ended without success, and another follows.
	KindWarning Kind = "warning"
	// KindTests: an artifact is a file of test results; Step, Name and Tests are set.
	KindTests Kind = "tests"
	// KindArtifact: a file was kept; Step, Name, Size, SHA256 are set.
	KindArtifact Kind = "artifact"
)

// StreamWharf is the stream of what Wharf itself says in a step's log: that a limit is reached.
const StreamWharf = "wharf"

// State is the state of a build, a stage or a step.
type State string

// The states, in the order in which a step passes through them. Builds and stages use
// Waiting, Running and the final ones.
const (
	Waiting   State = "waiting"   // not its turn yet
	Preparing State = "preparing" // image, volumes, container are being made
	Starting  State = "starting"  // init containers and services are on their way
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"    // the step's own fault: exit code, out of memory, time-out, a broken start
	Errored   State = "errored"   // the runtime's fault: lost, evicted, unreachable
	Cancelled State = "cancelled" // someone stopped the build
	Skipped   State = "skipped"   // run-if, environment, selection, or a step it needs
)

// Final reports whether nothing comes after s.
func (s State) Final() bool {
	switch s {
	case Succeeded, Failed, Errored, Cancelled, Skipped:
		return true
	}
	return false
}

// Event is one entry of a build's journal.
type Event struct {
	// Seq numbers the entries of the journal from 1, without gaps; 0 for what is not recorded.
	Seq  uint64    `json:"seq,omitempty"`
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`

	Stage string `json:"stage,omitempty"` // the stage's name
	Step  string `json:"step,omitempty"`  // the step's ID
	State State  `json:"state,omitempty"`
	// Reason is for a person, and says what to do where that can be said.
	Reason string `json:"reason,omitempty"`
	// Attempt counts from 1. A log line of a first attempt has none.
	Attempt int            `json:"attempt,omitempty"`
	Result  *driver.Result `json:"result,omitempty"`

	// Container is the name of the service or init container that wrote the line, or empty for the main one.
	Container string `json:"container,omitempty"`
	Stream    string `json:"stream,omitempty"` // "stdout", "stderr" or [StreamWharf]
	// Line has no newline at its end. Secrets are masked. It may hold invalid UTF-8. The
	// slice belongs to the event: it may be kept.
	Line []byte `json:"line,omitempty"`
	// Partial: the line goes on in the next log event of the same step, container and stream.
	Partial bool `json:"partial,omitempty"`

	// Image, Done, Total (bytes; Total is 0 while it is not known) and Status (the runtime's own word) are of a pull.
	Image       string `json:"image,omitempty"`
	Done, Total int64  `json:"-"`
	Status      string `json:"status,omitempty"`

	// Name is an artifact's path in the workspace, with '/' between elements; Size is in bytes, SHA256 in hexadecimal.
	Name   string `json:"name,omitempty"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`

	// Phases say where the time of a step's last attempt went, once it has ended.
	Phases []Phase `json:"phases,omitempty"`
	// Tests are the test results in a file.
	Tests *Tests `json:"tests,omitempty"`
}

// The names of a step's phases. The first two may lie before the stage began: what comes next is made ahead.
const (
	PhasePull   = "pull"   // waiting for the image
	PhaseCreate = "create" // making the container, and filling the workspace
	PhaseStart  = "start"  // init containers, services, the runtime's start
	PhaseRun    = "run"    // by the runtime's clock
	PhaseCopy   = "copy"   // the last lines and the artifacts
)

// Phase is a part of a step's time.
type Phase struct {
	Name  string    `json:"name"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
}

// Tests is the summary of a file of test results.
type Tests struct {
	Total   int `json:"total"`
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Took is in nanoseconds.
	Took time.Duration `json:"took"`
	// Failures are names of tests that failed, at most [MostFailures].
	Failures []string `json:"failures,omitempty"`
}

// String is one line for a person, such as "12 tests, 10 passed, 2 failed: a, b".
func (t *Tests) String() string {
	if t == nil {
		return "no numbers"
	}
	const named = 5
	words := fmt.Sprintf("%d tests, %d passed, %d failed", t.Total, t.Passed, t.Failed)
	if t.Skipped > 0 {
		words += fmt.Sprintf(", %d skipped", t.Skipped)
	}
	if n := min(len(t.Failures), named); n > 0 {
		words += ": " + strings.Join(t.Failures[:n], ", ")
		if t.Failed > n {
			words += fmt.Sprintf(" and %d more", t.Failed-n)
		}
	}
	return words
}

// MostFailures is how many failed tests are named.
const MostFailures = 100
