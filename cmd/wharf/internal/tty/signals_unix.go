//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package tty

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// signals returns channels that tell of a new size and of a wish to suspend, and a function that ends that.
func signals() (resized, suspended <-chan os.Signal, ignore func()) {
	r, s := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(r, unix.SIGWINCH)
	signal.Notify(s, unix.SIGTSTP)
	return r, s, func() { signal.Stop(r); signal.Stop(s) }
}

// stopSelf stops the process and returns when someone has continued it. The call that stops may return before the process
// stands still.
func stopSelf() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	if unix.Kill(unix.Getpid(), unix.SIGSTOP) == nil {
		<-continued
	}
}

// quiet stops the terminal at standard input from echoing what is typed, which would tear the frame, and returns what puts it
// back. It does nothing in the background, where it would suspend the process.
func quiet() (restore func()) {
	fd := int(os.Stdin.Fd())
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return func() {}
	}
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return func() {}
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, setTermios, &silent); err != nil {
		return func() {}
	}
	return func() { unix.IoctlSetTermios(fd, setTermios, before) }
}
