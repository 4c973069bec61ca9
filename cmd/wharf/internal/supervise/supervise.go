//go:build unix

// Package supervise runs the program once more as a child, and again when that is killed: what a container's first process is killed for ends the container, and what its child is killed for need not.
package supervise

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// childEnv is set for the child.
const childEnv = "WHARF_SUPERVISED"

// lives is how long a child must have lived for its death not to count as one in a row.
const lives = 10 * time.Second

// Child reports whether this process is the child.
func Child() bool { return os.Getenv(childEnv) != "" }

// Run runs this program with its own arguments as a child until that ends by itself, and returns its exit code: 128 and the number of the signal if it was killed more often in a row than most. The
// child gets the signals that ask this process to end. said is told of each death. As the first process of a container it takes the exit codes of others that nobody waits for.
func Run(most int, said func(signal syscall.Signal, again bool)) (code int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	for deaths := 1; ; deaths++ {
		began := time.Now()
		status, told, err := once(self, signals)
		if err != nil {
			return 0, err
		}
		if !status.Signaled() {
			return status.ExitStatus(), nil
		}
		if time.Since(began) > lives {
			deaths = 1
		}
		again := deaths <= most && !told
		said(status.Signal(), again)
		if !again {
			return 128 + int(status.Signal()), nil
		}
	}
}

// once runs the child to its end, and reports whether it was told to end.
func once(self string, signals <-chan os.Signal) (_ syscall.WaitStatus, told bool, err error) {
	child, err := os.StartProcess(self, os.Args, &os.ProcAttr{
		Env: append(os.Environ(), childEnv+"=1"), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 0, false, err
	}
	over := make(chan struct{})
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			select {
			case s := <-signals:
				told = true
				_ = child.Signal(s)
			case <-over:
				return
			}
		}
	})
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err == nil && (pid != child.Pid || !status.Exited() && !status.Signaled()):
			continue
		}
		close(over)
		passing.Wait()
		return status, told, err
	}
}
