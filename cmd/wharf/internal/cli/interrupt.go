package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

// interrupts turns signals into calls: the first time someone wants the build to end, the second and the third.
//
// One event may tell of itself in several ways: a terminal that is closed sends SIGHUP, the shell in it sends another, and writing
// to it fails; Ctrl-C in a pipeline also ends who reads the output. So only SIGINT and SIGTERM are counted. That nobody is there
// any more stands for the first of them at most.
type interrupts struct {
	signals chan os.Signal
	pipe    chan os.Signal

	mu      sync.Mutex
	asked   int // SIGINT and SIGTERM
	reasons []string
	react   func(count int, why string)
}

// watch begins to take signals; react is called, from one goroutine at a time, with how often there was a
// reason to end, and the reason. A signal that the parent process told this one to ignore stays ignored. From then on a broken
// pipe is an error of the write and does not end the process.
func watch(react func(count int, why string)) *interrupts {
	in := &interrupts{signals: make(chan os.Signal, 4), pipe: make(chan os.Signal, 1), react: react}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(in.signals, s)
		}
	}
	signal.Notify(in.pipe, syscall.SIGPIPE)
	go func() {
		for s := range in.signals {
			in.raise(s.String(), s != syscall.SIGHUP)
		}
	}()
	return in
}

// gone says that nobody is there any more who would see how the build goes on.
func (in *interrupts) gone(why string) { in.raise(why, false) }

func (in *interrupts) raise(why string, asked bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if asked {
		in.asked++
	}
	if len(in.reasons) >= max(1, in.asked) {
		return
	}
	in.reasons = append(in.reasons, why)
	in.react(len(in.reasons), why)
}

// on sets what happens from now on, and also for what there was before.
func (in *interrupts) on(react func(count int, why string)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.react = react
	for i, why := range in.reasons {
		react(i+1, why)
	}
}

func (in *interrupts) stop() {
	signal.Stop(in.signals)
	signal.Stop(in.pipe)
	close(in.signals)
}

// interruptible makes a command of what reads a build, or acts on it: an interrupt ends its context, and then it ends as one that was cancelled,
// whatever its error says. A second one ends the process, also where its output takes nothing.
func interruptible(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		err := run(ctx, args)
		if err != nil && ctx.Err() != nil {
			return &exit{exitCancelled, nil}
		}
		return err
	}
}

// tooEarly is the error of a build that could not begin: of one that was interrupted before it says that.
func tooEarly(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !isExit(err, exitCancelled) {
		return &exit{exitCancelled, fmt.Errorf("cancelled before the build began (%v)", cause)}
	}
	return err
}

func isExit(err error, code int) bool {
	var e *exit
	return errors.As(err, &e) && e.code == code
}
