// Package driver is the contract between a build engine and a container
// runtime: one interface that Docker, Podman, containerd and Kubernetes (and
// any runtime of yours) can keep, so that what is written above it runs on all.
//
// # Words
//
// A task is the unit: one main container, optional init containers that run to
// completion, in order, before it, and optional services that run beside it.
// The containers of a task share its volumes and one network namespace, so they
// reach each other on localhost. It is a Pod on Kubernetes and a small group of
// containers elsewhere. A task of one container is the common case.
//
// A volume is a directory that outlives tasks and is found by name. A sandbox is
// a network namespace, with its network, that is made ahead of the tasks that
// use it. An owner is whoever a driver value works for: a driver sees tasks,
// volumes and sandboxes of its own owner only, and names are unique within it.
//
// # Life of a task
//
//	          Create            Start                       (ends by itself, or Stop)
//	(nothing) ──────▶ created ──────▶ starting ─▶ running ──────▶ ended
//	                     │                │          │             │
//	                     └────────────────┴──── Remove ────────────┴──▶ (nothing)
//
// Create makes the task and starts nothing; Start runs its init containers and
// services and then its main container; Wait tells how it ended; Logs reads what
// it printed, while it runs and afterwards; Remove takes away all that Create and
// Start made. A whole life:
//
//	id, err := d.Create(ctx, driver.TaskSpec{
//		Name:      "unit",
//		Container: driver.Container{Image: "alpine:3", Args: []string{"sh", "-c", "echo hello"}},
//	})
//	if err != nil { … }
//	defer d.Remove(context.WithoutCancel(ctx), id)
//	logs, err := d.Logs(ctx, id, driver.LogOptions{Follow: true}) // before Start: live from the first byte
//	if err != nil { … }
//	defer logs.Close()
//	if err := d.Start(ctx, id); err != nil { … }
//	for entry, err := range driver.Entries(logs) { … }
//	res, err := d.Wait(ctx, id)
//	if err != nil { … }
//	if !res.Succeeded() { … }
//
// # The runtime is the database
//
// A handle ([TaskID], [VolumeID], [SandboxID]) is a string and nothing else. It
// can be stored, and used by another process after the one that made it has died.
// A driver keeps no state of its own that another process could not find out
// from the runtime. Every method works on what another process created.
//
// # Rules for every method
//
// Every method may be called by many goroutines at once, also on the same task.
// A context that ends stops the call, never the task; only Stop and Remove act on
// what runs. A call whose context ended returns an error that matches
// [context.Cause] of it.
//
// A driver waits for events and does not ask again and again: a task costs the runtime a bounded number of calls, and no more when it
// runs longer with nothing to say. A driver value with nothing to do makes none.
//
// Errors are classified with [github.com/containerd/errdefs] and are of type
// [*Error]: the operation, what it was done to, the runtime's own words. A
// process that exits with another code than zero is a [Result], not an error.
//
// What a driver or its runtime cannot honour is refused by Create with an error
// that matches [ErrUnsupported] and names the field; nothing is ignored silently.
// [Driver.Capabilities] says so beforehand.
//
// # For authors of drivers
//
// Package [github.com/wharfci/wharf/driver/drivertest] is the conformance suite:
// it says in code what this package says in prose. Package
// [github.com/wharfci/wharf/driver/fake] is the reference, kept in memory. Validate a
// spec with [TaskSpec.Validate] first of all in Create, hand every tar stream of a caller
// through [SafeTar], and wrap errors once, with [Wrap].
package driver
