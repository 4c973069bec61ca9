// Package endtoend holds the test of the service as wharf-api meets it, on a real runtime: a trigger, a clone from a Git server, a build, its journal, and that nothing is left.
package endtoend
