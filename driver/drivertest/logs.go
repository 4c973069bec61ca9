package drivertest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest/testprog"
)

func logs() []Case {
	const (
		every     = "Logs delivers every byte that each container wrote, once, in order per stream; io.EOF says that every byte was delivered."
		verbatim  = "Line has every byte as it was written, carriage returns, NUL and invalid UTF-8 included, without the newline that ended it."
		lastLine  = "A last line that no newline ended is an entry like any other."
		follow    = "Called before Start, with Follow, it delivers from the first byte on; called later, by anyone, the same again from the beginning."
		cursor    = "From is where to begin: just behind the entry after which the cursor was taken; no entry is lost or doubled."
		unread    = "A reader that is not read neither stops the task nor grows without bound: what it has not taken yet stays with the runtime."
		connected = "A broken connection is resumed inside, or returned as an error; it is never taken for the end."
	)
	return append(group("logs",
		Case{ID: "every-line", Contract: every, Timeout: 5 * time.Minute, Run: everyLine},
		Case{ID: "rotation", Contract: every, Timeout: 10 * time.Minute, Run: rotation},
		Case{ID: "exit-at-once", Contract: every, Run: exitAtOnce},
		Case{ID: "last-line", Contract: lastLine, Run: lastLineWithoutNewline},
		Case{ID: "long-line", Contract: "A line of more than MaxLogLine bytes is delivered in parts; Partial says that the line goes on in the next entry of the same container and stream.", Run: longLine},
		Case{ID: "carriage-returns", Contract: verbatim, Run: carriageReturns},
		Case{ID: "binary", Contract: verbatim, Run: binary},
		Case{ID: "empty-lines", Contract: verbatim, Run: emptyLines},
		Case{ID: "streams", Contract: "Stream is Stdout or Stderr; the order within each is exact.", Run: streams},
		Case{ID: "silent", Contract: every, Run: silent},
		Case{ID: "never-started", Contract: "Without Follow, the reader ends with what there is now.", Run: neverStarted},
		Case{ID: "ended", Contract: follow, Run: endedTask},
		Case{ID: "follow-before-start", Contract: follow, Run: followBeforeStart},
		Case{ID: "follow-twice", Contract: follow, Run: followTwice},
		Case{ID: "no-follow", Contract: "Without Follow, the reader ends with what there is now.", Run: noFollow},
	), group("logs",
		Case{ID: "cursor", Contract: cursor, Run: cursorResume},
		Case{ID: "cursor-live", Contract: cursor, Run: cursorLive},
		Case{ID: "cursor-long-line", Contract: cursor, Run: cursorLongLine},
		Case{ID: "cursor-end", Contract: cursor, Run: cursorEnd},
		Case{ID: "cursor-foreign", Contract: "Logs: InvalidArgument for a cursor that is not one of this task.", Run: cursorForeign},
		Case{ID: "unknown-task", Contract: "Logs: NotFound for an unknown task.", Run: logsUnknown},
		Case{ID: "holder", Contract: "A background child that holds standard output does not keep the log from ending, and what the main process wrote is all there.", Run: holderLog},
		Case{ID: "stalled-reader", Contract: unread, Timeout: 5 * time.Minute, Run: stalledReader},
		Case{ID: "close", Contract: "Close, which any goroutine may call, makes Next return. A second Close returns nil.", Run: closeReader},
		Case{ID: "times", Contract: "Time is when the runtime saw the entry. It does not run backwards within a stream.", Run: logTimes},
		Case{ID: "init-and-services", Contract: "Container is the name of the container that wrote the entry; LogOptions.Containers restricts the log to these.", Run: logContainers},
		Case{ID: "line-cut", Contract: connected, Run: lineCutWhileReading},
		Case{ID: "line-cut-idle", Contract: connected, Run: lineCutWhileIdle},
	)...)
}

// wantNumbered reads the log to its end and wants lines FIRST to N-1 of the verb "lines", all, once, in order.
func wantNumbered(r driver.LogReader, first, n, size int) error {
	var j joiner
	next := first
	for entry, err := range driver.Entries(r) {
		if err != nil {
			return fmt.Errorf("after line %d of %d: %w", next, n, err)
		}
		l, ok := j.add(entry)
		if !ok {
			continue
		}
		if want := testprog.Line(next, size); l.text != string(want) {
			return fmt.Errorf("line %d is %.100q (%d bytes); want %.100q (%d bytes)", next, l.text, len(l.text), want, len(want))
		}
		next++
	}
	if next != n {
		return fmt.Errorf("the log ended after line %d of %d", next, n)
	}
	return j.rest()
}

func everyLine(e *Env) { numbered(e, 200_000, 60) }

// rotation is 60 MiB, which daemons and kubelets rotate several times.
func rotation(e *Env) { numbered(e, 60<<10, 1023) }

// numbered reads lines while they are written, and once more afterwards.
func numbered(e *Env, n, size int) {
	id := e.create(e.spec("lines", fmt.Sprint(n), fmt.Sprint(size)))
	live := e.logs(e.d, id, driver.LogOptions{Follow: true})
	e.must("Start", e.d.Start(e.ctx, id))
	e.must("follow", wantNumbered(live, 0, n, size))
	e.wantExit(e.wait(id), 0)
	e.must("read afterwards", wantNumbered(e.logs(e.d, id, driver.LogOptions{}), 0, n, size))
}

func exitAtOnce(e *Env) {
	for i := range 10 {
		text := fmt.Sprint("last words ", i)
		out := e.succeed(e.spec("print", text))
		if diff := cmp.Diff([]string{text}, out.stdout()); diff != "" {
			e.Fatalf("output (-want +got):\n%s", diff)
		}
	}
}

// wantOutput runs the spec and wants these lines on standard output.
func (e *Env) wantOutput(spec driver.TaskSpec, want ...string) {
	out := e.succeed(spec)
	if diff := cmp.Diff(want, out.stdout()); diff != "" {
		e.Errorf("output of %q (-want +got):\n%s", spec.Container.Args, diff)
	}
}

func lastLineWithoutNewline(e *Env) {
	e.wantOutput(e.spec("print", "first", ";", "raw", hex.EncodeToString([]byte("no newline"))), "first", "no newline")
}

func longLine(e *Env) {
	const size = 2 << 20
	out := e.succeed(e.spec("long", fmt.Sprint(size), ";", "print", "after"))
	lines := out.stdout()
	if len(lines) != 2 || lines[1] != "after" {
		e.Fatalf("got %d lines; want the long one and one after it\n%s", len(lines), out)
	}
	if lines[0] != string(testprog.LongLine(size)) {
		e.Errorf("the line of %d bytes came back changed, with %d bytes", size, len(lines[0]))
	}
}

func carriageReturns(e *Env) {
	e.wantOutput(e.spec("raw", hex.EncodeToString([]byte("10%\r50%\r100%\ndos\r\n\r\nend\r"))), "10%\r50%\r100%", "dos\r", "\r", "end\r")
}

func binary(e *Env) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	text := "\x00nul\x00\n\xff\xfe broken \xc3\n" + string(all) + "\n\x1b[31mred\x1b[0m\n"
	e.wantOutput(e.spec("raw", hex.EncodeToString([]byte(text))), strings.Split(strings.TrimSuffix(text, "\n"), "\n")...)
}

func emptyLines(e *Env) {
	e.wantOutput(e.spec("raw", hex.EncodeToString([]byte("\n\n  \nx\n\n"))), "", "", "  ", "x", "")
}

func streams(e *Env) {
	out := e.succeed(e.spec("both", "500"))
	var stdout, stderr []string
	for i := range 500 {
		stdout = append(stdout, fmt.Sprint("out ", i))
		stderr = append(stderr, fmt.Sprint("err ", i))
	}
	if diff := cmp.Diff(stdout, out.stdout()); diff != "" {
		e.Errorf("standard output (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(stderr, out.stderr()); diff != "" {
		e.Errorf("standard error (-want +got):\n%s", diff)
	}
}

func silent(e *Env) {
	e.wantOutput(e.spec("exit", "0"))
}

func neverStarted(e *Env) {
	id := e.create(e.spec("print", "x"))
	out, err := readAll(e.logs(e.d, id, driver.LogOptions{}))
	e.must("read", err)
	if len(out) > 0 {
		e.Errorf("a task that was not started printed\n%s", out)
	}
}

func endedTask(e *Env) {
	id := e.start("lines", "100", "30")
	e.wait(id)
	other := e.open(e.owner)
	for _, opts := range []driver.LogOptions{{}, {Follow: true}} {
		for _, d := range []driver.Driver{e.d, other} {
			e.must(fmt.Sprintf("read with %+v", opts), wantNumbered(e.logs(d, id, opts), 0, 100, 30))
		}
	}
}

func followBeforeStart(e *Env) {
	id := e.create(e.spec("lines", "1000", "30"))
	r := e.logs(e.d, id, driver.LogOptions{Follow: true})
	read := make(chan error, 1)
	go func() { read <- wantNumbered(r, 0, 1000, 30) }()
	e.must("Start", e.d.Start(e.ctx, id))
	e.must("follow", receive(e, "follow from before Start", read))
}

func followTwice(e *Env) {
	id := e.create(e.spec("lines", "1000", "30"))
	read := make(chan error, 2)
	for range 2 {
		r := e.logs(e.d, id, driver.LogOptions{Follow: true})
		go func() { read <- wantNumbered(r, 0, 1000, 30) }()
	}
	e.must("Start", e.d.Start(e.ctx, id))
	for range 2 {
		e.must("follow", receive(e, "follow by two", read))
	}
}

func noFollow(e *Env) {
	id, _ := e.ready(e.spec("lines", "10", "30", ";", "print", "ready", ";", "await", "/go"))
	out, err := readAll(e.logs(e.d, id, driver.LogOptions{}))
	e.must("read", err)
	if lines := out.stdout(); len(lines) != 11 || lines[10] != "ready" {
		e.Errorf("the log of a running task, without Follow, is\n%s; want 10 lines and \"ready\"", out)
	}
}

// take reads n entries.
func take(e *Env, r driver.LogReader, n int) []string {
	var texts []string
	for range n {
		entry, err := r.Next()
		e.must("Next", err)
		texts = append(texts, string(entry.Line))
	}
	return texts
}

func cursorResume(e *Env) {
	const n = 1000
	id := e.start("lines", fmt.Sprint(n), "30")
	e.wait(id)
	other := e.open(e.owner)
	for _, at := range []int{0, 1, 2, 499, n - 1, n} {
		r := e.logs(e.d, id, driver.LogOptions{})
		take(e, r, at)
		from := r.Cursor()
		if len(from) > 4<<10 {
			e.Errorf("a cursor has %d bytes; the most is 4 KiB", len(from))
		}
		for _, d := range []driver.Driver{e.d, other} {
			for _, follow := range []bool{false, true} {
				rest := e.logs(d, id, driver.LogOptions{From: from, Follow: follow})
				e.must(fmt.Sprintf("resume after %d entries, follow %t", at, follow), wantNumbered(rest, at, n, 30))
			}
		}
	}
}

func cursorLive(e *Env) {
	id, r := e.ready(e.spec("lines", "10", "30", ";", "print", "ready", ";", "await", "/go", ";", "lines", "500", "30", "10"))
	from := r.Cursor()
	rest := e.logs(e.open(e.owner), id, driver.LogOptions{Follow: true, From: from})
	e.signal(id, "/go")
	e.must("go on", wantNumbered(r, 10, 510, 30))
	e.must("resume while the task runs", wantNumbered(rest, 10, 510, 30))
	e.must("resume after the end", wantNumbered(e.logs(e.d, id, driver.LogOptions{From: from}), 10, 510, 30))
}

func cursorLongLine(e *Env) {
	const size = 300 << 10
	id := e.start("long", fmt.Sprint(size))
	e.wait(id)
	want := string(testprog.LongLine(size))
	r := e.logs(e.d, id, driver.LogOptions{})
	var got strings.Builder
	for range 3 { // parts of the line
		entry, err := r.Next()
		e.must("Next", err)
		got.Write(entry.Line)
	}
	rest := e.logs(e.d, id, driver.LogOptions{From: r.Cursor()})
	for entry, err := range driver.Entries(rest) {
		e.must("resume inside of a line", err)
		got.Write(entry.Line)
	}
	if got.String() != want {
		e.Errorf("a line of %d bytes, resumed after three parts, has %d bytes, or is changed", len(want), got.Len())
	}
}

func cursorEnd(e *Env) {
	id := e.start("print", "one", ";", "print", "two")
	e.wait(id)
	r := e.logs(e.d, id, driver.LogOptions{})
	_, err := readAll(r)
	e.must("read", err)
	rest, err := readAll(e.logs(e.d, id, driver.LogOptions{From: r.Cursor(), Follow: true}))
	e.must("read on from the end", err)
	if len(rest) > 0 {
		e.Errorf("behind the end there is\n%s", rest)
	}
}

func cursorForeign(e *Env) {
	one, two := e.start("print", "one"), e.start("print", "two")
	e.wait(one)
	e.wait(two)
	r := e.logs(e.d, one, driver.LogOptions{})
	take(e, r, 1)
	for what, from := range map[string]driver.Cursor{"of another task": r.Cursor(), "of nothing": "no cursor at all"} {
		r, err := e.d.Logs(e.ctx, two, driver.LogOptions{From: from})
		if err == nil {
			r.Close()
		}
		e.wantError("Logs with a cursor "+what, err, errdefs.ErrInvalidArgument)
	}
}

func logsUnknown(e *Env) {
	id := e.create(e.spec("print", "x"))
	e.must("Remove", e.d.Remove(e.ctx, id))
	r, err := e.d.Logs(e.ctx, id, driver.LogOptions{Follow: true})
	if err == nil {
		r.Close()
	}
	e.wantError("Logs of a removed task", err, errdefs.ErrNotFound)
}

func holderLog(e *Env) {
	id := e.start("spawn-holder", ";", "print", "last words")
	if diff := cmp.Diff([]string{"last words"}, e.output(id).stdout()); diff != "" {
		e.Errorf("output (-want +got):\n%s", diff)
	}
	e.wantExit(e.wait(id), 0)
}

// stalledReader leaves a reader alone after its first line, while the task writes 32 MiB and ends.
func stalledReader(e *Env) {
	const n, size = 32 << 10, 1023
	id := e.create(e.spec("lines", fmt.Sprint(n), fmt.Sprint(size)))
	r := e.logs(e.d, id, driver.LogOptions{Follow: true})
	e.must("Start", e.d.Start(e.ctx, id))
	take(e, r, 1)
	e.wantExit(e.wait(id), 0)
	e.must("read on after the task's end", wantNumbered(r, 1, n, size))
}

func closeReader(e *Env) {
	id, r := e.ready(e.spec("ignore-term"))
	got := make(chan error, 1)
	go func() {
		_, err := r.Next()
		got <- err
	}()
	e.must("Close", r.Close())
	e.must("second Close", r.Close())
	if err := receive(e, "Next after Close", got); err == nil || errors.Is(err, io.EOF) {
		e.Errorf("Next returned %v when the reader was closed; want an error that is not io.EOF", err)
	}
	e.must("Remove", e.d.Remove(e.ctx, id))
}

func logTimes(e *Env) {
	id := e.start("both", "200")
	res := e.wait(id)
	last := map[driver.Stream]time.Time{}
	for entry, err := range driver.Entries(e.logs(e.d, id, driver.LogOptions{})) {
		e.must("read", err)
		if entry.Time.Before(last[entry.Stream]) || entry.Time.Before(res.Started.Add(-time.Second)) {
			e.Fatalf("an entry has time %v, after %v and the task's start at %v", entry.Time, last[entry.Stream], res.Started)
		}
		last[entry.Stream] = entry.Time
	}
}

func logContainers(e *Env) {
	spec := e.with(e.volume(), "await", "/v/service-runs", ";", "print", "from main", ";", "eprint", "error from main")
	service := e.named("db", "print", "from service", ";", "put", "/v/service-runs", "x", ";", "trap-term", "0")
	service.Mounts = spec.Container.Mounts
	spec.Init = []driver.Container{e.named("prepare", "print", "from init")}
	spec.Services = []driver.Service{{Container: service}}
	if !e.caps.Init || !e.caps.Services {
		if !e.caps.Init {
			e.refused("Init", driver.TaskSpec{Name: spec.Name, Container: spec.Container, Init: spec.Init})
		}
		if !e.caps.Services {
			e.refused("Services", driver.TaskSpec{Name: spec.Name, Container: spec.Container, Services: spec.Services})
		}
		return
	}
	id := e.startSpec(spec)
	e.wantExit(e.wait(id), 0)
	out := e.output(id)
	for name, want := range map[string][]string{"prepare": {"from init"}, driver.MainContainer: {"from main"}} {
		if diff := cmp.Diff(want, out.of(name, driver.Stdout)); diff != "" {
			e.Errorf("output of container %q (-want +got):\n%s", name, diff)
		}
	}
	if !slices.Contains(out.of("db", driver.Stdout), "from service") {
		e.Errorf("the service's line is missing:\n%s", out)
	}
	only, err := readAll(e.logs(e.d, id, driver.LogOptions{Containers: []string{"prepare"}}))
	e.must("read one container", err)
	if diff := cmp.Diff([]string{"from init"}, only.of("prepare", driver.Stdout)); diff != "" || len(only) != 1 {
		e.Errorf("the log of the init container alone is\n%s", only)
	}
}

// lineCutWhileReading cuts the connection when some of the lines are read, lets the task end, and wants the rest.
func lineCutWhileReading(e *Env) {
	const n, size = 20_000, 100
	d, cut := e.cuttable()
	id := e.create(e.spec("lines", "100", "100", ";", "await", "/go", ";", "lines", fmt.Sprint(n-100), fmt.Sprint(size), "100"))
	r := e.logs(d, id, driver.LogOptions{Follow: true})
	e.must("Start", e.d.Start(e.ctx, id))
	take(e, r, 100)
	e.signal(id, "/go")
	take(e, r, 50)
	cut.Cut()
	e.wantExit(e.wait(id), 0)
	cut.Restore()
	e.wantRest(d, id, r, 150, n, size)
}

func lineCutWhileIdle(e *Env) {
	d, cut := e.cuttable()
	id := e.create(e.spec("lines", "10", "30", ";", "await", "/go", ";", "lines", "10", "30", "10"))
	r := e.logs(d, id, driver.LogOptions{Follow: true})
	e.must("Start", e.d.Start(e.ctx, id))
	take(e, r, 10)
	next := make(chan error, 1)
	go func() { next <- wantNumbered(r, 10, 20, 30) }()
	cut.Cut()
	cut.Restore()
	e.signal(id, "/go")
	e.wantExit(e.wait(id), 0)
	err := receive(e, "the reader over a line that was cut", next)
	if err != nil && errors.Is(err, errdefs.ErrUnavailable) {
		e.wantRest(d, id, r, -1, 20, 30)
	} else if err != nil {
		e.Errorf("%v", err)
	}
}

// wantRest reads on; when the reader reports the broken connection, a new one goes on from its cursor. First is the number of
// the next line, or -1 if the reader may have delivered more.
func (e *Env) wantRest(d driver.Driver, id driver.TaskID, r driver.LogReader, first, n, size int) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	next := first
	for {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			e.wantError("Next over a cut line", err, errdefs.ErrUnavailable)
			if ctx.Err() != nil {
				e.Fatalf("%v", context.Cause(ctx))
			}
			r = e.logs(d, id, driver.LogOptions{Follow: true, From: r.Cursor()})
			continue
		}
		if next < 0 {
			fmt.Sscanf(string(entry.Line), "%d", &next)
		}
		if string(entry.Line) != string(testprog.Line(next, size)) {
			e.Fatalf("line %d is %.100q after the connection was cut", next, entry.Line)
		}
		next++
	}
	if next >= 0 && next != n {
		e.Errorf("after the connection was cut, the log ended cleanly after line %d of %d", next, n)
	}
}
