//go:build !unix

// Package supervise runs the program once more as a child; on this system it cannot.
package supervise

import (
	"errors"
	"syscall"
)

// Child reports whether this process is the child.
func Child() bool { return false }

// Run is not possible here.
func Run(int, func(syscall.Signal, bool)) (int, error) {
	return 0, errors.New("--restarts is possible on Unix systems only")
}
