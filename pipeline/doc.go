// Package pipeline reads a .wharf-ci.yml and turns it into a plan that a build engine can run.
//
// Data flows one way:
//
//	bytes ──Parse──▶ Definition ──Plan──▶ Plan
//	                 parsed, checked,     variables substituted, matrices expanded,
//	                 with positions       filters decided, every field typed
//
// [Parse] reports every problem of a file at once, each with its line, column and source text. A [Definition] is
// immutable: it may be planned many times and by many goroutines at once, with different [Options]. A [Plan] is plain
// data that survives a round trip through JSON.
//
// The package knows no container runtime and starts no process. What it takes from outside comes through [Options]:
// given inputs, variables from the environment and from variable files (see [ProcessLayer] and [ReadVarFiles]), facts
// from Git (see the package gitvars), and the repository's files as an [io/fs.FS].
//
// # Variables
//
// [Substitute] documents the syntax of ${name} exactly; [Definition.Variables] documents where names come from and which
// definition wins.
//
// # Limits
//
// A definition comes from whoever may push to a repository, so it is treated as hostile: see [MaxSize], [MaxDepth],
// [MaxNodes] and [MaxMatrix]. Within them parsing takes linear time and memory.
package pipeline
