//go:build !linux

package conformance

// AsProgram does nothing: containers of the suite run Linux.
func AsProgram() {}
