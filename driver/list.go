package driver

import "time"

// State is where a task stands in its life.
type State uint8

const (
	// StateUnknown is the zero value: the runtime does not say, or the task is still being made.
	StateUnknown State = iota
	// StateCreated: made, not started.
	StateCreated
	// StateStarting: Start was called; init containers or services are on their way.
	StateStarting
	// StateRunning: the main process runs.
	StateRunning
	// StateEnded: the task has ended; Wait answers at once.
	StateEnded
)

// String returns the state in one lower-case word.
func (s State) String() string {
	return [...]string{"unknown", "created", "starting", "running", "ended", "unknown"}[min(int(s), 5)]
}

// ListOptions selects tasks or volumes.
type ListOptions struct {
	// Labels must all be there with exactly these values. Empty selects all.
	Labels map[string]string
}

// Task is a task as the runtime has it.
type Task struct {
	ID     TaskID
	Name   string
	Labels map[string]string
	State  State
	// Reason says, for a person, why the task is not further: an image being
	// pulled, no node that fits; or why one that runs is about to be ended, such as by an eviction. Empty if there is nothing to say.
	Reason string
	// Incomplete says that the task's Create has not returned yet, or died half-way; its state is StateUnknown then.
	Incomplete bool
	// Created is by the runtime's clock.
	Created time.Time
}

// StopOptions says how to stop.
type StopOptions struct {
	// Grace is the time between TERM and KILL. Zero kills at once. Runtimes that
	// count whole seconds round up.
	Grace time.Duration
}
