package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
)

// run is a build on a daemon of its own.
type run struct {
	*exec.Cmd
	t       *testing.T
	out     *bufio.Reader
	stderr  *strings.Builder
	results string
}

func begin(t *testing.T, d *daemon, build string) *run {
	t.Helper()
	r := &run{t: t, results: filepath.Join(t.TempDir(), "results")}
	r.Cmd = wharf(t, "run", "--output", "plain", "--results", r.results, build)
	r.Env = append(r.Env, "WHARF_DRIVER="+d.url())
	r.out, r.stderr = launch(t, r.Cmd)
	return r
}

// end waits for the build's end and returns its exit code, what it said, and how its journal ends.
func (r *run) end() (code int, said string, last worker.Event) {
	r.t.Helper()
	rest, _ := io.ReadAll(r.out)
	code = exitCode(r.t, r.Wait())
	for e, err := range journal.Read(r.results) {
		if err != nil {
			r.t.Errorf("the journal cannot be read: %v", err)
			break
		}
		last = e
	}
	return code, string(rest) + r.stderr.String(), last
}

// gc returns what "wharf gc" says.
func (r *run) gc() string {
	r.t.Helper()
	cmd := exec.Command("wharf", "gc")
	cmd.Env = r.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Errorf("wharf gc: %v\n%s", err, out)
	}
	return string(out)
}

// empty fails if there is any container, volume or network of ours on the daemon.
func (d *daemon) empty(t *testing.T) {
	t.Helper()
	api := d.client()
	containers, err := api.ContainerList(t.Context(), client.ContainerListOptions{All: true})
	if err != nil || len(containers.Items) > 0 {
		t.Errorf("containers are left: %v, %v", containers.Items, err)
	}
	volumes, err := api.VolumeList(t.Context(), client.VolumeListOptions{})
	if err != nil || len(volumes.Items) > 0 {
		t.Errorf("volumes are left: %v, %v", volumes.Items, err)
	}
	networks, err := api.NetworkList(t.Context(), client.NetworkListOptions{Filters: client.Filters{}.Add("type", "custom")})
	if err != nil || len(networks.Items) > 0 {
		t.Errorf("networks are left: %v, %v", networks.Items, err)
	}
}

// TestDaemonAbsent has daemons that are not there, and what is there in place of one.
func TestDaemonAbsent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(net.Conn) // nil: nobody listens
		says   string
	}{
		"nobody listens": {nil, "Is the docker daemon running?"},
		"hangs up":       {func(c net.Conn) { c.Close() }, "docker does not answer"},
		"speaks no HTTP": {func(c net.Conn) { fmt.Fprintln(c, "220 mail.example.com ESMTP"); c.Close() }, "docker does not answer"},
		"is no Docker":   {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"); c.Close() }, "docker does not answer"},
		"never answers":  {func(net.Conn) {}, "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if c.answer == nil {
				l.Close()
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					c.answer(conn)
				}
			}()
			began := time.Now()
			out, err := wharf(t, "run", "--driver", "docker://"+socket, definition(t, "echo never")).CombinedOutput()
			if code := exitCode(t, err); code != 3 || !strings.Contains(string(out), c.says) || !strings.Contains(string(out), socket) || strings.Contains(string(out), "| never") {
				t.Errorf("exit code %d, want 3; it should say %q and name the socket:\n%s", code, c.says, out)
			}
			if took := time.Since(began); took > hangs {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestDaemonGoes ends the daemon for good while a step runs. What was left is removed when there is a daemon again.
func TestDaemonGoes(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	r := begin(t, d, definition(t, "echo ready\nexec sleep 1000"))
	until(t, r.out, "| ready")
	began := time.Now()
	d.tell("kill")
	code, said, last := r.end()
	if took := time.Since(began); took > hangs {
		t.Errorf("the build went on for %v", took)
	}
	if code != 3 || !strings.Contains(said, "wharf: build errored: build/step: ") || !strings.Contains(said, "Is the docker daemon running?") {
		t.Errorf("exit code %d, want 3 with the cause:\n%s", code, said)
	}
	if last.Kind != worker.KindBuild || last.State != worker.Errored || !strings.Contains(last.Reason, "Is the docker daemon running?") {
		t.Errorf("the journal ends with %+v", last)
	}
	if log, err := os.ReadFile(filepath.Join(r.results, "steps", "build--step", "output.log")); err != nil || !strings.HasSuffix(string(log), " ready\n") {
		t.Errorf("the step's log is %q, %v", log, err)
	}
	d.tell("start")
	if said := r.gc(); !strings.Contains(said, "removed ") {
		t.Errorf("wharf gc says:\n%s", said)
	}
	d.empty(t)
}

// TestDaemonRestarts restarts the daemon while a step runs: however the step then ends, the build is no success, and it is not the step that failed.
func TestDaemonRestarts(t *testing.T) {
	t.Parallel()
	obeys, fails := "trap 'exit 0' TERM\necho ready\nwhile :; do sleep 0.1; done", "trap 'exit 3' TERM\necho ready\nwhile :; do sleep 0.1; done"
	for name, c := range map[string]struct{ how, script string }{
		"in order, the step obeys": {"stop", obeys},
		"in order, the step fails": {"stop", fails},
		"killed, the step obeys":   {"kill", obeys},
		"killed, the step is too":  {"kill", "echo ready\nexec sleep 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t)
			r := begin(t, d, definition(t, c.script))
			until(t, r.out, "| ready")
			d.tell(c.how)
			d.tell("start")
			code, said, last := r.end()
			// The call that started it may not have been answered when it has said that it is ready.
			known := strings.Contains(last.Reason, "so it is not taken for a success: Docker records exit code") || strings.HasPrefix(last.Reason, "build/step: start ")
			if code != 3 || last.State != worker.Errored || !known {
				t.Errorf("exit code %d, want 3 with the cause; the journal ends with %+v:\n%s", code, last, said)
			}
			d.empty(t)
		})
	}
}

// TestDaemonRestartsBetween restarts the daemon at some moments of a build of many steps.
func TestDaemonRestartsBetween(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	for i, how := range []string{"kill", "stop", "kill"} {
		r := begin(t, d, "testdata/stages")
		for range 4 + 6*i {
			r.out.ReadString('\n')
		}
		d.tell(how)
		d.tell("start")
		code, said, last := r.end()
		if code != 3 && code != 0 || code == 3 && last.State != worker.Errored || code == 0 && last.State != worker.Succeeded {
			t.Errorf("%s: exit code %d, the journal ends with %+v:\n%s", how, code, last, said)
		}
		d.empty(t)
	}
}
