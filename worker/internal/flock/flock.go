// Package flock locks files among processes: a lock ends with its process, however that ends.
package flock

import (
	"errors"
	"os"
)

// ErrHeld says that another open file holds the lock.
var ErrHeld = errors.New("is held by another process")

// Lock takes the exclusive lock of f's file, without waiting; [ErrHeld] if it cannot be had. It ends when f is closed.
func Lock(f *os.File) error { return lock(f, false) }

// Wait takes the exclusive lock of f's file as soon as it can be had, and blocks until then. It cannot be called off: the caller's
// goroutine, and a thread, stay until the holder ends.
func Wait(f *os.File) error { return lock(f, true) }
