package examples

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/client"
)

// floodEnv is how many lines of 1 KiB the step of testdata/flood prints on each runtime; "make soak" says 10 GiB of them.
const floodEnv = "WHARF_TEST_LINES"

// TestFlood has steps print a line of 64 MiB, and very many lines, and follows them through a worker: all of it comes, and the worker stays small.
func TestFlood(t *testing.T) {
	lines, err := strconv.Atoi(cmp.Or(os.Getenv(floodEnv), "100000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	// One runtime after the other: each keeps all that is printed, as the worker does.
	for _, runtime := range runtimes {
		t.Run(runtime, func(t *testing.T) { flood(t, runtime, lines) })
	}
}

// flood runs the build on one runtime.
func flood(t *testing.T, runtime string, lines int) {
	results := filepath.Join(t.TempDir(), "results")
	cmd := exec.CommandContext(t.Context(), wharf, "worker", "testdata/flood", "--driver="+driverOf(runtime), "--results="+results,
		"--var=IMAGE=localhost/wharf/busybox:1", "--var=LINES="+strconv.Itoa(lines))
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	log := bufio.NewReader(stderr)
	for {
		line, err := log.ReadString('\n')
		if err != nil {
			t.Fatalf("the worker does not serve: %v, %v", err, cmd.Wait())
		}
		if strings.Contains(line, `"@message":"serving"`) {
			break
		}
	}
	said := make(chan string)
	go func() {
		rest, _ := io.ReadAll(log)
		said <- string(rest)
	}()
	f := &flooded{want: fmt.Sprintf("%01023d", 7)}
	f.follow(t, results)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	words := <-said
	err = cmd.Wait()
	if f.long != 64<<20 || f.lines != lines || f.wrong != 0 {
		t.Errorf("the long line has %d bytes; there are %d lines, want %d; %d are wrong", f.long, f.lines, lines, f.wrong)
	}
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	peak := usage.Maxrss >> 10 // Linux counts in KiB
	if err != nil || f.end.State != worker.Succeeded || peak > 150 {
		t.Errorf("the build: %s %s; the worker, which has used %d MiB: %v\n%s", f.end.State, f.end.Reason, peak, err, words)
	}
	t.Logf("%d lines; the worker has used %d MiB at most", lines, peak)
}

// flooded is what has come of a flood.
type flooded struct {
	want         string
	long         int // bytes of the long line
	lines, wrong int
	end          worker.Event
}

// follow reads the build's journal from its worker, to the end.
func (f *flooded) follow(t *testing.T, results string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(results, "worker.json"))
	var e struct{ Address, Token string }
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(e.Address, client.Options{Token: e.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended := false
	for e, err := range c.Events(context.WithoutCancel(t.Context()), client.ReadOptions{Follow: true}) {
		if err != nil {
			t.Errorf("behind entry %d: %v", f.end.Seq, err)
			return
		}
		switch {
		case e.Kind != worker.KindLog:
			f.end = e
		case e.Step == "flood--line":
			f.long += len(e.Line)
			if ended || strings.Trim(string(e.Line), "x") != "" {
				f.wrong++
			}
			ended = !e.Partial
		default:
			f.lines++
			if string(e.Line) != f.want {
				f.wrong++
			}
		}
	}
}
