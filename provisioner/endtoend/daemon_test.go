package endtoend

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
)

// daemon is a command that runs until it is told to end, can be killed, and started again.
type daemon struct {
	t     testing.TB
	args  []string
	ready string       // the message that it logs when it does its work
	heard func(logged) // takes what it logs, if it is not nil

	mu   sync.Mutex
	cmd  *exec.Cmd     // nil while none runs
	read chan struct{} // closed when all that it printed has been read
	text strings.Builder
}

// logged is a line of its log.
type logged struct {
	Message string `json:"@message"`
	Worker  string
	Fence   uint64
}

// start starts it, and returns when it says that it does its work.
func (d *daemon) start() {
	d.t.Helper()
	cmd := exec.Command(wharf, d.args...)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		d.t.Error(err)
		return
	}
	read, ready := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		tell := sync.OnceFunc(func() { close(ready) })
		defer tell()
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.mu.Lock()
			d.text.Write(append(lines.Bytes(), '\n'))
			d.mu.Unlock()
			var entry logged
			if json.Unmarshal(lines.Bytes(), &entry) != nil {
				continue
			}
			if entry.Message == d.ready {
				tell()
			}
			if d.heard != nil {
				d.heard(entry)
			}
		}
	}()
	d.mu.Lock()
	d.cmd, d.read = cmd, read
	d.mu.Unlock()
	<-ready
	select {
	case <-read:
		d.t.Errorf("wharf %s does not serve:\n%s", d.args[0], d.said())
	default:
	}
}

// said is all that it and those before it have printed.
func (d *daemon) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// signal sends it a signal, and leaves it running.
func (d *daemon) signal(s syscall.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(s)
	}
}

// end has a signal end it.
func (d *daemon) end(s syscall.Signal) {
	d.mu.Lock()
	cmd, read := d.cmd, d.read
	d.cmd = nil
	d.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(s)
	<-read
	if err := cmd.Wait(); err != nil && s != syscall.SIGKILL {
		d.t.Errorf("wharf %s ended with %v", d.args[0], err)
	}
}

// stop ends it as an operator does.
func (d *daemon) stop() {
	d.signal(syscall.SIGCONT)
	d.end(syscall.SIGTERM)
	if d.t.Failed() {
		d.t.Logf("wharf %s said:\n%s", strings.Join(d.args, " "), last(d.said(), 300_000))
	}
}

// last are the last bytes of a text.
func last(text string, n int) string { return text[max(0, len(text)-n):] }

// restart kills it, and starts it again.
func (d *daemon) restart() {
	d.end(syscall.SIGKILL)
	d.start()
}

// wharfAPI starts a stand-in for wharf-api.
func wharfAPI(t testing.TB, opts wharfapitest.Options) *wharfapitest.Server {
	t.Helper()
	api, err := wharfapitest.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// aggregator starts an aggregator that reaches the runtime as a driver's URL says.
func (s *system) aggregator(name, through string, api *wharfapitest.Server, flags ...string) *daemon {
	s.t.Helper()
	d := s.relayer(name, through, api, flags...)
	d.start()
	return d
}

// relayer returns an aggregator that is to be started.
func (s *system) relayer(name, through string, api *wharfapitest.Server, flags ...string) *daemon {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(workerKey), 0o600); err != nil {
		s.t.Fatal(err)
	}
	d := &daemon{t: s.t, ready: "relaying", args: append([]string{"aggregator", "--driver=" + through, "--name=" + name, "--wharf-api=" + api.URL(), "--worker-key=" + file, "--http=", "--log-level=debug"}, flags...)}
	s.t.Cleanup(d.stop)
	return d
}
