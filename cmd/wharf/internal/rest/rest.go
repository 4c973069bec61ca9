// Package rest gives memory back that a process which is going to wait does not need.
package rest

import "runtime/debug"

// Now gives back what the garbage collector has freed, and, on Linux, the pages of the program itself: those that are needed again come from the
// system's cache. It takes some milliseconds.
func Now() {
	debug.FreeOSMemory()
	dropProgram()
}
