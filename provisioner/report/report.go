// Package report is what a program in a container tells the one that started it: lines of JSON on standard output, each with a
// state that was reached. The container's log carries them, so they need no connection, and are still there when either program
// was started again.
package report

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
)

// State is what a program has come to.
type State string

// The states of a clone, in turn; one that failed ends with Failed, whatever came before.
const (
	Cloning State = "cloning"
	Cloned  State = "cloned"
	Failed  State = "failed"
)

// The states of a worker: it begins with Running, and ends with Succeeded, Failed, Errored (nobody can say whether the build is good) or Cancelled. Released
// follows when somebody has taken everything.
const (
	Running   State = "running"
	Succeeded State = "succeeded"
	Errored   State = "errored"
	Cancelled State = "cancelled"
	Released  State = "released"
)

// Line is one report.
type Line struct {
	Time   time.Time `json:"time"`
	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"` // of Failed, in words for a person, maybe several lines
	Commit string    `json:"commit,omitempty"` // of Cloned
	Branch string    `json:"branch,omitempty"` // of Cloned
}

// Write writes a line, in one piece. A Time that is zero becomes the present.
func Write(w io.Writer, l Line) error {
	if l.Time.IsZero() {
		l.Time = time.Now().UTC()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Parse reads a line of a log, and reports whether it is a report. Fields and states that it does not know, which a newer program may
// write, are no reason to refuse one; text that another program printed is.
func Parse(line []byte) (Line, bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return Line{}, false
	}
	var l Line
	if err := json.Unmarshal(line, &l); err != nil || l.State == "" || l.Time.IsZero() {
		return Line{}, false
	}
	return l, true
}
