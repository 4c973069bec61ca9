package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/wharfci/wharf/driver"
)

// line is a whole line of a log, its parts joined.
type line struct {
	container string
	stream    driver.Stream
	text      string
}

// output is what a task printed, line by line.
type output []line

// String shows the output for a person, shortened.
func (o output) String() string {
	var b strings.Builder
	for i, l := range o {
		if i == 20 {
			fmt.Fprintf(&b, "… and %d more lines\n", len(o)-i)
			break
		}
		fmt.Fprintf(&b, "%s %s | %.200q\n", l.container, l.stream, l.text)
	}
	return b.String()
}

// of returns the lines of one container and stream.
func (o output) of(container string, stream driver.Stream) []string {
	var lines []string
	for _, l := range o {
		if l.container == container && l.stream == stream {
			lines = append(lines, l.text)
		}
	}
	return lines
}

// stdout returns the lines of the main container's standard output.
func (o output) stdout() []string { return o.of(driver.MainContainer, driver.Stdout) }

func (o output) stderr() []string { return o.of(driver.MainContainer, driver.Stderr) }

// joiner puts the parts of lines together again.
type joiner struct {
	parts map[string]*bytes.Buffer
}

// add takes an entry, and returns the line that it completes.
func (j *joiner) add(entry driver.LogEntry) (line, bool) {
	if j.parts == nil {
		j.parts = map[string]*bytes.Buffer{}
	}
	key := fmt.Sprint(entry.Container, "/", entry.Stream)
	buf := j.parts[key]
	if buf == nil {
		buf = &bytes.Buffer{}
		j.parts[key] = buf
	}
	buf.Write(entry.Line)
	if entry.Partial {
		return line{}, false
	}
	l := line{entry.Container, entry.Stream, buf.String()}
	buf.Reset()
	return l, true
}

// rest reports a line whose last part is still marked as partial.
func (j *joiner) rest() error {
	for key, buf := range j.parts {
		if buf.Len() > 0 {
			return fmt.Errorf("%s: the last entry is marked Partial, but nothing follows", key)
		}
	}
	return nil
}

// readAll reads a log to its end.
func readAll(r driver.LogReader) (output, error) {
	var out output
	var j joiner
	for entry, err := range driver.Entries(r) {
		if err != nil {
			return out, err
		}
		if len(entry.Line) > driver.MaxLogLine {
			return out, fmt.Errorf("an entry has %d bytes; the most is %d", len(entry.Line), driver.MaxLogLine)
		}
		if l, ok := j.add(entry); ok {
			out = append(out, l)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return out, fmt.Errorf("Next after the end: %v; want io.EOF", err)
	}
	return out, j.rest()
}

// logs opens a log, or ends the case; the end of the case closes it.
func (e *Env) logs(d driver.Driver, id driver.TaskID, opts driver.LogOptions) driver.LogReader {
	r, err := d.Logs(e.ctx, id, opts)
	e.must("Logs", err)
	e.defers(func(context.Context) {
		if err := r.Close(); err != nil {
			e.Errorf("close a log: %v", err)
		}
	})
	return r
}

// output returns all that the task has printed, or ends the case. It follows the log to its end.
func (e *Env) output(id driver.TaskID) output {
	r := e.logs(e.d, id, driver.LogOptions{Follow: true})
	out, err := readAll(r)
	e.must("read the log", err)
	e.must("close the log", r.Close())
	return out
}

// await reads the log until a line of the main container's standard output has the text, or
// ends the case. The reader stands behind that line afterwards.
func (e *Env) await(r driver.LogReader, text string) {
	var j joiner
	for {
		entry, err := r.Next()
		if err != nil {
			e.Fatalf("wait for the line %q in the log: %v", text, err)
		}
		if l, ok := j.add(entry); ok && l.text == text && l.stream == driver.Stdout && l.container == driver.MainContainer {
			return
		}
	}
}

// ready starts a task whose program prints "ready", and returns when it has.
func (e *Env) ready(spec driver.TaskSpec) (driver.TaskID, driver.LogReader) {
	id := e.startSpec(spec)
	r := e.logs(e.d, id, driver.LogOptions{Follow: true})
	e.await(r, "ready")
	return id, r
}
