package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/wharfci/wharf/driver"
)

// request is what the suite asks of another process, one JSON document a line.
type request struct {
	Op   string // a method of driver.Driver, in lower case
	Task driver.TaskID
	Spec *driver.TaskSpec
}

// reply answers a request.
type reply struct {
	Error  string
	Task   driver.TaskID
	Tasks  []driver.Task
	Result driver.Result
	Lines  []string // of standard output
}

// Serve does with d what the suite, in another process, asks for on in, and answers on out, until in
// ends. See [Harness].Process. It does not close d.
func Serve(ctx context.Context, d driver.Driver, in io.Reader, out io.Writer) error {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var req request
		if err := requests.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		rep, err := serve(ctx, d, req)
		if err != nil {
			rep.Error = err.Error()
		}
		if err := replies.Encode(rep); err != nil {
			return err
		}
	}
}

func serve(ctx context.Context, d driver.Driver, req request) (rep reply, err error) {
	switch req.Op {
	case "create":
		rep.Task, err = d.Create(ctx, *req.Spec)
	case "start":
		err = d.Start(ctx, req.Task)
	case "list":
		rep.Tasks, err = d.List(ctx, driver.ListOptions{})
	case "wait":
		rep.Result, err = d.Wait(ctx, req.Task)
	case "stop":
		err = d.Stop(ctx, req.Task, driver.StopOptions{Grace: time.Minute})
	case "remove":
		err = d.Remove(ctx, req.Task)
	case "logs":
		var r driver.LogReader
		if r, err = d.Logs(ctx, req.Task, driver.LogOptions{Follow: true}); err == nil {
			defer r.Close()
			var out output
			out, err = readAll(r)
			rep.Lines = out.stdout()
		}
	default:
		err = fmt.Errorf("unknown operation %q", req.Op)
	}
	return rep, err
}

// peer is another process.
type peer struct {
	e        *Env
	requests *json.Encoder
	replies  *json.Decoder
}

// peer starts another process; the end of the case ends it. Where the harness has none, it is another driver value.
func (e *Env) peer() *peer {
	if e.suite.h.Process == nil {
		return e.peerInside()
	}
	cmd := e.suite.h.Process(e.ctx, e.owner)
	in, err := cmd.StdinPipe()
	e.must("another process", err)
	out, err := cmd.StdoutPipe()
	e.must("another process", err)
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	e.must("start another process", cmd.Start())
	e.defers(func(context.Context) {
		in.Close()
		if err := cmd.Wait(); err != nil {
			e.Errorf("the other process: %v", err)
		}
	})
	return &peer{e, json.NewEncoder(in), json.NewDecoder(out)}
}

func (e *Env) peerInside() *peer {
	d := e.open(e.owner)
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(e.ctx, d, inR, outW) }()
	e.defers(func(context.Context) {
		inW.Close()
		outR.Close()
		<-done
	})
	return &peer{e, json.NewEncoder(inW), json.NewDecoder(outR)}
}

// call asks the other process, or ends the case.
func (p *peer) call(req request) reply {
	var rep reply
	p.e.must("ask another process", p.requests.Encode(req))
	p.e.must("answer of another process", p.replies.Decode(&rep))
	if rep.Error != "" {
		p.e.Fatalf("%s in another process: %s", req.Op, rep.Error)
	}
	return rep
}

// secondProcess lets another process work on a task of this one, and this one on a task of the other.
func secondProcess(e *Env) {
	id, _ := e.ready(e.spec("trap-term", "4"))
	p := e.peer()
	if tasks := p.call(request{Op: "list"}).Tasks; len(tasks) != 1 || tasks[0].ID != id || tasks[0].State != driver.StateRunning {
		e.Fatalf("another process lists %+v; want the running task %s", tasks, id)
	}
	p.call(request{Op: "stop", Task: id})
	e.wantExit(p.call(request{Op: "wait", Task: id}).Result, 4)
	e.wantExit(e.wait(id), 4)
	lines := p.call(request{Op: "logs", Task: id}).Lines
	if len(lines) != 2 || lines[1] != "got TERM" {
		e.Errorf("another process reads the lines %q; want ready, got TERM", lines)
	}
	p.call(request{Op: "remove", Task: id})
	e.gone("Remove by another process")

	spec := e.spec("print", "theirs", ";", "exit", "5")
	theirs := p.call(request{Op: "create", Spec: &spec}).Task
	e.removeLater(theirs)
	e.must("Start of a task that another process created", e.d.Start(e.ctx, theirs))
	e.wantExit(p.call(request{Op: "wait", Task: theirs}).Result, 5)
	if lines := e.output(theirs).stdout(); len(lines) != 1 || lines[0] != "theirs" {
		e.Errorf("the task of another process printed %q", lines)
	}
}
