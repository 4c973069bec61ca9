package main

import (
	"bytes"
	"cmp"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// proxy stands before the Docker daemon, and can hang: it takes connections and bytes then, and passes nothing on.
type proxy struct {
	socket string
	gate   sync.RWMutex // held by hang
	open   sync.WaitGroup
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{socket: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	network, addr, _ := strings.Cut(cmp.Or(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock"), "://")
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial(network, addr)
			if err != nil {
				from.Close()
				continue
			}
			p.open.Go(func() { p.pass(to, from) })
			p.open.Go(func() { p.pass(from, to) })
		}
	}()
	return p
}

func (p *proxy) pass(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.gate.RLock()
		_, werr := to.Write(buf[:n])
		p.gate.RUnlock()
		if err != nil || werr != nil {
			return
		}
	}
}

// A second interrupt ends a build soon, also if Docker answers nothing more. What it had to leave is said, and can be collected.
func TestSecondInterruptWhileDockerHangs(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	cmd := wharf(t, "run", "--output", "plain", "--grace", "10m", "--driver", "docker://"+p.socket, definition(t, "echo ready\nexec sleep 1000"))
	out, stderr := launch(t, cmd)
	until(t, out, "| ready")
	p.gate.Lock()
	began := time.Now()
	cmd.Process.Signal(os.Interrupt)
	cmd.Process.Signal(syscall.SIGTERM) // another one: two alike can count as one
	said, _ := io.ReadAll(out)
	code := exitCode(t, cmd.Wait())
	took := time.Since(began)
	p.gate.Unlock()
	if took > hangs {
		t.Errorf("it took %v", took)
	}
	for _, want := range []string{"not everything could be removed from the runtime: of build ", "1 tasks, 1 volumes, 0 networks", `"wharf gc", removes what is left`} {
		if code != 130 || !strings.Contains(stderr.String(), want) {
			t.Errorf("exit code %d, want 130, and %q:\n%s%s", code, want, said, stderr)
		}
	}
	gc := exec.Command("wharf", "gc")
	gc.Env = cmd.Env
	if out, err := gc.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("removed ")) {
		t.Errorf("wharf gc: %v\n%s", err, out)
	}
	nothingLeft(t, cmd)
}
