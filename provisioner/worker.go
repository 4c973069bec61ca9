package provisioner

import (
	"cmp"
	"time"
)

// State is where a worker stands.
type State string

// The states of a worker, in the order of its life; the last five are final.
const (
	// Queued: it waits for its turn; Worker.Position and Reason say for what, once the queue was looked at.
	Queued State = "queued"
	// Preparing: its turn has come; the runtime gets its image, or looks for a place for it.
	Preparing State = "preparing"
	// Cloning: the repository is fetched.
	Cloning State = "cloning"
	// Running: the build runs.
	Running State = "running"
	// Succeeded and Failed: the build has ended so. A worker that could not clone has failed too.
	Succeeded State = "succeeded"
	Failed    State = "failed"
	// Cancelled: somebody stopped it.
	Cancelled State = "cancelled"
	// Lost: the worker ended and nobody knows how its build would have: it was killed, evicted, removed, or ran out of memory.
	Lost State = "lost"
	// Removed: it has been deleted. Only a watcher sees it.
	Removed State = "removed"
)

// order says how far each state is; a worker never goes back.
var order = map[State]int{Queued: 1, Preparing: 2, Cloning: 3, Running: 4, Succeeded: 5, Failed: 5, Cancelled: 5, Lost: 5, Removed: 6}

// usual are the reasons of workers of which nobody tells a better one.
var usual = map[State]string{
	Queued: "it waits for its turn", Preparing: "its containers are being started", Cloning: "the repository is being cloned", Running: "the build runs",
	Succeeded: "the build has succeeded", Failed: "the build has failed", Cancelled: "the build was cancelled", Lost: "nobody knows how the build would have ended", Removed: "it has been removed",
}

// reasonOf is a reason as a worker has it: what is told of it, kept short, or that of its state.
func reasonOf(s State, told string) string { return capped(cmp.Or(told, usual[s])) }

// Final reports whether a worker stays in the state.
func (s State) Final() bool { return order[s] >= order[Succeeded] }

// Worker is a build that was asked for, as the API shows it.
type Worker struct {
	// ID names the worker, for ever: it is made from Instance and Build.
	ID string `json:"workerId"`
	// State and Reason say where it stands, and, for a person, why it is not further or how it ended. There is always a reason; one of which nobody tells more says what the state means.
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Position in the queue, from 1; 0 for what is not queued.
	Position int `json:"position,omitempty"`

	Build    uint64  `json:"buildRef"`
	Instance string  `json:"instance"`
	Project  Project `json:"project"`
	// URL has no credentials.
	URL         string `json:"url"`
	Branch      string `json:"branch"`
	Commit      string `json:"commit,omitempty"`
	Stage       string `json:"stage"`
	Environment string `json:"environment,omitempty"`
	Priority    int    `json:"priority,omitempty"`

	// Created, Started (its turn had come) and Ended are by the runtime's clock; absent if it has not come to that, or nobody knows.
	Created time.Time  `json:"created"`
	Started *time.Time `json:"started,omitempty"`
	Ended   *time.Time `json:"ended,omitempty"`
	// History are the states that it has been in, as far as this provisioner has seen them, or the worker's own record tells.
	History []Change `json:"history"`
}

// Project is what a build belongs to.
type Project struct {
	ID    uint64 `json:"id,omitempty"`
	Group string `json:"group,omitempty"`
	Name  string `json:"name,omitempty"`
}

// Change is a state that a worker came into.
type Change struct {
	State  State     `json:"state"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
}
