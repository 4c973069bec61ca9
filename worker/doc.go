// Package worker runs the plan of a build on a driver and records what happens.
//
// Plan in, journal out: [Build.Run] takes a [pipeline.Plan], fills the build's workspace
// volume with the repository, runs the stages in order and the steps of a
// stage in parallel, and writes every state change and every log line, numbered
// without gaps, to a directory that another process can read. The engine knows
// the contract of package driver and nothing of any runtime.
//
// # What a step sees
//
// Its working directory is [Workspace], the repository as package repo describes it; all steps of a build share it. Its files belong to
// root, or to the user that all steps name by number; if only some steps name a user other than root, everybody
// may write in the directories. An image with a user of its own that is not root should be told so with "user".
//
// Caches are volumes that outlive the build, one for a project and key. Services run beside the step and are reached by their
// names and on localhost. A project's secret, and whatever else of the step holds the value of a password input, travels in a
// file that only the container sees: /bin/sh reads it and hands over to the step's shell, so such a step's image
// needs /bin/sh. The environment of services is given to the runtime as it is: there secrets can be seen by who may inspect containers.
//
// # How a build spends its time
//
// Most of a short step is the runtime's work, so the engine keeps it off the path from one step to the next. While a step
// runs, the task of the next one is made, its log opened and its end waited for, so that only Start is left; so are the images of the
// next stage. What a step left is removed while the next one runs. Network sandboxes are made in the background and used in turn,
// see lanes. The workspace is filled through the first task that exists.
//
// # How a build ends
//
// A step has failed by its own fault (exit code, signal, out of memory, time-out, a command or image that is not there), or
// errored by the runtime's (lost, evicted, unreachable, no record of the end). A step that did not end by itself, because the build was
// stopped, is what the build is then: cancelled, failed (the build's time-out) or errored (the disk is full). Whatever
// happens, the runtime is cleaned up afterwards, for up to 20 seconds if it is away, a minute if it hangs, and never longer than 15
// seconds after the build was stopped by force; what is left even then belongs to a build whose lease no one holds,
// and [lease.Collect] removes it.
package worker
