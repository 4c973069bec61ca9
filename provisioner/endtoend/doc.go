// Package endtoend holds the tests of the service as wharf-api meets it, on a real runtime: a trigger, a clone from a Git server, a build, its journal, and that nothing is left; many at
// once, several provisioners, and what happens when one of them is killed. It measures too how long a build takes to begin.
package endtoend
