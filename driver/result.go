package driver

import (
	"fmt"
	"slices"
	"time"
)

// Outcome is the way a task ended. The zero value is [Unknown]: nothing that was
// forgotten, lost on the wire or not understood can look like success.
type Outcome uint8

const (
	// Unknown: the task ended, and the runtime has no record of how.
	Unknown Outcome = iota
	// Exited: the main process ended by itself with Result.Code, 0 to 255.
	Exited
	// Signaled: the main process was killed by Result.Signal. A shell that reports a
	// killed child exits with 128+n by itself and is Exited; so runtimes that only
	// know the number report Signaled for 137 (KILL) and 143 (TERM), and Exited for others.
	Signaled
	// OutOfMemory: the kernel killed the main process, or a child of it that made
	// the main process fail, for want of memory. Result.Code is what the main
	// process exited with.
	OutOfMemory
	// Evicted: the runtime took the task off its node, to win back resources or to empty the node.
	Evicted
	// Lost: the task was removed, or its node vanished, while it ran, by someone else.
	Lost
	// InitFailed: the init container named Result.Container ended with Result.Code, other than 0;
	// the main container was not started. One that could not be started has the code 127, and Reason the runtime's words.
	InitFailed
	// ServiceFailed: the service named Result.Container did not become ready, or died
	// while the main container ran; Result.Code is its exit code, or -1 if it still ran.
	ServiceFailed
	// StartFailed: the main process could not be started: command not found, not executable,
	// no such user, no such working directory. Reason has the runtime's words.
	StartFailed
	// Stopped: Stop was called before the main process was started.
	Stopped
)

var outcomes = [...]string{"unknown", "exited", "signaled", "out of memory", "evicted", "lost", "init failed", "service failed", "start failed", "stopped"}

// String returns the outcome in lower-case words, such as "out of memory".
func (o Outcome) String() string {
	if int(o) < len(outcomes) {
		return outcomes[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// MarshalText returns the words of String, so that an outcome that is stored can be read by people.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText takes what MarshalText returns. Words that it does not know become Unknown: whoever wrote
// them may be newer.
func (o *Outcome) UnmarshalText(text []byte) error {
	*o = Unknown
	if i := slices.Index(outcomes[:], string(text)); i >= 0 {
		*o = Outcome(i)
	}
	return nil
}

// Result is how a task ended. The zero value means unknown, and is no success.
type Result struct {
	// Outcome says which of the fields below mean something.
	Outcome Outcome
	// Code is the exit code, 0 to 255, of Exited, OutOfMemory, InitFailed and ServiceFailed; -1 for a service that still ran.
	Code int
	// Signal is the number of the signal, 1 to 64, of Signaled.
	Signal int
	// Container is the name of the init container or service of InitFailed and ServiceFailed.
	Container string
	// Reason is for a person: the runtime's own words, or empty.
	Reason string
	// Started and Ended are by the runtime's clock. Started is zero if the main
	// process never started; Ended is zero if it is not known. Ended is not before Started.
	Started, Ended time.Time
}

// Succeeded reports whether the runtime has it on record that the main process
// ended by itself with exit code 0. Everything else is no success.
func (r Result) Succeeded() bool { return r.Outcome == Exited && r.Code == 0 }

// String returns one line for a person, such as "exited with code 2" or
// "start failed: exec: \"foo\": executable file not found in $PATH".
func (r Result) String() string {
	s := r.Outcome.String()
	switch r.Outcome {
	case Exited:
		s = fmt.Sprintf("exited with code %d", r.Code)
	case Signaled:
		s = fmt.Sprintf("killed by signal %d (%s)", r.Signal, signalName(r.Signal))
	case InitFailed:
		s = fmt.Sprintf("init container %q failed with code %d", r.Container, r.Code)
	case ServiceFailed:
		s = fmt.Sprintf("service %q failed", r.Container)
		if r.Code >= 0 {
			s += fmt.Sprintf(" with code %d", r.Code)
		}
	}
	if r.Reason != "" {
		s += ": " + r.Reason
	}
	return s
}

func signalName(n int) string {
	names := map[int]string{1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM"}
	if s, ok := names[n]; ok {
		return s
	}
	return fmt.Sprint(n)
}

// ResultOfCode returns the result of a main process of which the runtime knows
// only the number that a shell would show: 137 and 143 as Signaled, the rest,
// 0 to 255, as Exited; a number out of that range as Unknown. Runtimes
// that know the signal itself need not call it.
func ResultOfCode(code int) Result {
	switch {
	case code == 128+9 || code == 128+15:
		return Result{Outcome: Signaled, Code: code, Signal: code - 128}
	case code >= 0 && code <= 255:
		return Result{Outcome: Exited, Code: code}
	}
	return Result{Outcome: Unknown, Code: code, Reason: fmt.Sprintf("the runtime reports exit code %d", code)}
}
