//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package tty

import "os"

// signals: these systems tell of neither; the size is read for each frame anyway.
func signals() (resized, suspended <-chan os.Signal, ignore func()) {
	return nil, nil, func() {}
}

func stopSelf() {}

func quiet() (restore func()) { return func() {} }
