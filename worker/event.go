package worker

import "github.com/wharfci/wharf/worker/journal"

// What happens in a build is told in the words of package journal.
type (
	// Event is one entry of a build's journal.
	Event = journal.Event
	// Kind says what an event tells.
	Kind = journal.Kind
	// State is the state of a build, a stage or a step.
	State = journal.State
)

// The kinds of events, see package journal.
const (
	KindBuild    = journal.KindBuild
	KindStage    = journal.KindStage
	KindStep     = journal.KindStep
	KindLog      = journal.KindLog
	KindStop     = journal.KindStop
	KindPull     = journal.KindPull
	KindWarning  = journal.KindWarning
	KindArtifact = journal.KindArtifact
	KindTests    = journal.KindTests
)

// The states, see package journal.
const (
	Waiting   = journal.Waiting
	Preparing = journal.Preparing
	Starting  = journal.Starting
	Running   = journal.Running
	Succeeded = journal.Succeeded
	Failed    = journal.Failed
	Errored   = journal.Errored
	Cancelled = journal.Cancelled
	Skipped   = journal.Skipped
)
