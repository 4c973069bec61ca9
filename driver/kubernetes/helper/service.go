//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// between is the time from one check of a service to the next.
const between = 100 * time.Millisecond

// serve starts the services and waits until all are ready. A result says why the main container must not start. Services that end later come
// out of failed.
func (t *task) serve(failed chan<- *box) *wire.Result {
	services := t.of(wire.Service)
	unready := make(chan *wire.Result, len(services))
	end := make(chan struct{})
	defer close(end)
	for _, b := range services {
		if !t.launch(b) {
			return &wire.Result{Outcome: "stopped"}
		}
		go func() {
			<-b.ended
			failed <- b
		}()
		go func() { unready <- b.untilReady(end) }()
	}
	for range services {
		res := <-unready
		if res != nil && isClosed(t.stop) {
			return &wire.Result{Outcome: "stopped"}
		}
		if res != nil {
			return res
		}
	}
	return nil
}

// failure is the result when a service has ended.
func (b *box) failure(words string) *wire.Result {
	r := b.record()
	res := &wire.Result{Outcome: "service failed", Container: b.Name, Code: r.shellCode(), Reason: words, Ended: r.Time}
	switch {
	case r.Op == msgFailed:
		res.Code, res.Reason = 127, r.Reason
	case r.OOM:
		res.Reason = "out of memory"
	case r.Op == "":
		res.Code, res.Reason = 137, "process 1 of the container was killed"
	}
	return res
}

// untilReady checks the service until it is ready (nil), has ended, or its time is over.
func (b *box) untilReady(end <-chan struct{}) *wire.Result {
	select {
	case <-b.began:
	case <-b.ended:
		return b.failure("it ended before it was ready")
	case <-end:
		return nil
	}
	if b.Ready.TCP == 0 && len(b.Ready.Exec) == 0 {
		return nil
	}
	limit := time.NewTimer(b.Ready.Timeout)
	defer limit.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	last := "it was not checked"
	for {
		select {
		case <-b.ended:
			return b.failure("it ended before it was ready")
		case <-end:
			return nil
		case <-limit.C:
			return &wire.Result{Outcome: "service failed", Container: b.Name, Code: -1, Ended: time.Now(),
				Reason: fmt.Sprintf("it was not ready after %s: %s", b.Ready.Timeout, last)}
		case <-pause.C:
		}
		answer := make(chan string, 1)
		go func() { answer <- b.check() }()
		select { // a check that hangs does not keep the others waiting
		case last = <-answer:
			if last == "" {
				return nil
			}
		case <-b.ended:
			return b.failure("it ended before it was ready")
		case <-limit.C:
			limit.Reset(0)
			last = "the check did not end"
		}
		pause.Reset(between)
	}
}

// check returns why the service is not ready, or "".
func (b *box) check() string {
	if b.Ready.TCP != 0 {
		c, err := dialPort(b.Ready.TCP)
		if err != nil {
			return err.Error()
		}
		c.Close()
		return ""
	}
	res, err := b.execute(b.Ready.Exec)
	switch {
	case err != nil:
		return err.Error()
	case res.Outcome != "exited" || res.Code != 0:
		return fmt.Sprintf("the command %s with code %d", res.Outcome, res.Code)
	}
	return ""
}

// dialPort connects to a port of the pod.
func dialPort(port int) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", fmt.Sprint("127.0.0.1:", port), time.Minute)
	if err != nil {
		if six, err6 := net.DialTimeout("tcp", fmt.Sprint("[::1]:", port), time.Minute); err6 == nil {
			return six, nil
		}
	}
	return c, err
}

// execute runs a command in the container and drops what it prints.
func (b *box) execute(args []string) (*wire.Result, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "check"), os.NewFile(uintptr(pair[1]), "check")
	defer ours.Close()
	err = b.hand(&wire.Request{Version: wire.Version, Op: wire.OpExec, Args: args}, theirs)
	theirs.Close()
	if err != nil {
		return nil, err
	}
	conn := wire.New(ours, ours)
	for {
		kind, payload, err := conn.Read()
		if err != nil {
			return nil, err
		}
		if kind == wire.FrameAnswer {
			return resultOf(payload)
		}
	}
}
