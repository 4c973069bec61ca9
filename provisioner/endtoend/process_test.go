package endtoend

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/provisioner/client"
)

// process is a provisioner: the command, which can be killed and started again at the same address.
type process struct {
	*system
	args   []string
	env    []string
	base   string // URL of the provisioner
	client *client.Client
	http   *http.Client
	lost   chan bool // closed by lose, when it does not serve, and will not
	lose   func()

	mu    sync.Mutex // of the following
	cmd   *exec.Cmd  // nil while none runs
	read  chan bool  // closed when all that it printed has been read
	text  strings.Builder
	again chan bool // closed when it serves again
}

// provisioner starts one more provisioner, and waits until it serves.
func (s *system) provisioner(flags ...string) *process {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, text := range map[string]string{"token": engineToken, "key": workerKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	p := &process{system: s, env: append(os.Environ(), "XDG_STATE_HOME="+s.t.TempDir()), again: make(chan bool), lost: make(chan bool)}
	p.lose = sync.OnceFunc(func() { close(p.lost) })
	p.args = append([]string{"provisioner", "--driver=" + s.url, "--image=" + image, "--pull=never", "--token=wharf-api=" + filepath.Join(dir, "token"),
		"--worker-key=" + filepath.Join(dir, "key"), "--allow-http", "--service-account=" + account}, flags...)
	p.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	s.t.Cleanup(func() { p.stop() })
	p.start(ownAddress(s.t))
	var err error
	if p.client, err = client.New(p.base, engineToken, client.Options{HTTP: p.http}); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// ownAddress returns an address to listen at that the system gives to no connection while the command is killed and started again.
func ownAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprint("127.0.0.1:", 10_000+rand.N(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// start starts the command, and returns when it serves. One that was killed in the midst of starting another program has its port until that runs.
func (p *process) start(address string) {
	p.t.Helper()
	at, ok := p.launch(address)
	for tries := 0; !ok && tries < 20 && strings.HasSuffix(p.said(), "address already in use\n"); tries++ {
		at, ok = p.launch(address)
	}
	if !ok {
		p.t.Errorf("the provisioner does not serve:\n%s", p.said())
		p.lose()
		return
	}
	if p.base == "" {
		p.base = "http://" + at
	}
	for p.asks() == http.StatusServiceUnavailable { // until it knows what there is, which nothing tells; more often would be against its rate
		time.Sleep(50 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.again)
}

// launch starts the command, and returns where it serves, if it does.
func (p *process) launch(address string) (at string, ok bool) {
	cmd := exec.Command(wharf, append(p.args, "--listen="+address)...)
	cmd.Env = p.env
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Error(err)
		return "", false
	}
	serving, read := make(chan string, 1), make(chan bool)
	go p.listen(stderr, serving, read)
	if at, ok = <-serving; !ok {
		_ = cmd.Wait()
		return "", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.read = cmd, read
	return at, true
}

// said is all that the command and those before it have printed.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// asks for the list of workers, and returns the status of the answer; 0 if there is none.
func (p *process) asks() int {
	r, err := http.NewRequest("GET", p.base+"/api/worker", nil)
	if err != nil {
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+engineToken)
	res, err := p.http.Do(r)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// listen takes what the command prints, and from it where it serves.
func (p *process) listen(stderr io.Reader, serving chan<- string, read chan<- bool) {
	defer close(read)
	defer close(serving)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		p.mu.Lock()
		fmt.Fprintln(&p.text, lines.Text())
		p.mu.Unlock()
		var entry struct {
			Message string `json:"@message"`
			Address string
		}
		if err := json.Unmarshal(lines.Bytes(), &entry); err == nil && entry.Message == "serving" {
			serving <- entry.Address
		}
	}
}

// end has a signal end the command, and returns all that it and those before it have printed.
func (p *process) end(signal syscall.Signal) string {
	p.mu.Lock()
	cmd, read := p.cmd, p.read
	if p.cmd = nil; cmd != nil {
		select {
		case <-p.again:
			p.again = make(chan bool)
		default:
		}
	}
	p.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Signal(signal)
		<-read
		if err := cmd.Wait(); err != nil && signal != syscall.SIGKILL {
			p.t.Errorf("the provisioner ended with %v", err)
		}
		p.http.CloseIdleConnections()
	}
	return p.said()
}

// stop ends the command as an operator does.
func (p *process) stop() string {
	p.mu.Lock()
	running := p.cmd != nil
	p.mu.Unlock()
	text := p.end(syscall.SIGTERM)
	if running && p.t.Failed() {
		p.t.Logf("the provisioner said:\n%s", text)
	}
	return text
}

// restart kills the command with -9, and starts it again.
func (p *process) restart() {
	p.end(syscall.SIGKILL)
	p.start(strings.TrimPrefix(p.base, "http://"))
}

// back is closed when the command serves.
func (p *process) back() <-chan bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.again
}

// pid is that of the command.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}
