package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wharfci/wharf/cmd/wharf/internal/drivers"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner/client"
	"github.com/wharfci/wharf/provisioner/report"
)

// asProvisioner makes this program the command "wharf provisioner" on a runtime in memory, for tests of how a process ends.
const asProvisioner = "WHARF_TEST_AS_PROVISIONER"

func beProvisioner() int {
	cmd := (&provisioning{host: inMemory}).command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	if err == nil {
		return exitOK
	}
	warn(os.Stderr, "%v", err)
	var e *exit
	if errors.As(err, &e) {
		return e.code
	}
	return exitUsage
}

// held is a runtime that says on standard output when it makes a task, and makes it when standard input has ended.
type held struct{ driver.Driver }

func (h held) Unwrap() driver.Driver { return h.Driver }

func (h held) Create(ctx context.Context, spec driver.TaskSpec) (driver.TaskID, error) {
	fmt.Println("making")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return h.Driver.Create(ctx, spec)
}

// inMemory is a runtime whose workers succeed at once.
func inMemory(context.Context, string, string, []byte) (*drivers.Hosting, error) {
	rt := fake.New(fake.Config{Programs: map[string]fake.Program{"": func(_ context.Context, p *fake.Proc) int {
		if p.Args()[1] == "worker" {
			_ = report.Write(p.Stdout(), report.Line{State: report.Succeeded})
		}
		return 0
	}}})
	return &drivers.Hosting{Workers: &drivers.Opened{Driver: held{rt.Open("workers")}}, Builds: &drivers.Opened{Driver: rt.Open("builds")}}, nil
}

// process is a provisioner in a process of its own.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	log     *bufio.Scanner
	lines   []string
	address string
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"--image=registry.example/wharf/worker:1", "--listen=127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), asProvisioner+"=1", "XDG_STATE_HOME="+t.TempDir())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewReader(out), log: bufio.NewScanner(log)}
	line := p.until("serving")
	p.address, _ = line["address"].(string)
	return p
}

// until reads the log up to a message.
func (p *process) until(message string) map[string]any {
	p.t.Helper()
	for p.log.Scan() {
		p.lines = append(p.lines, p.log.Text())
		var line map[string]any
		if err := json.Unmarshal(p.log.Bytes(), &line); err == nil && line["@message"] == message {
			return line
		}
	}
	p.t.Fatalf("there is no %q in the log: %q", message, p.lines)
	return nil
}

// making waits until a task is being made.
func (p *process) making() {
	p.t.Helper()
	if line, err := p.out.ReadString('\n'); line != "making\n" {
		p.t.Fatalf("it says %q, %v", line, err)
	}
}

// end waits for the process, and returns its exit code.
func (p *process) end() int {
	p.t.Helper()
	for p.log.Scan() {
		p.lines = append(p.lines, p.log.Text())
	}
	err := p.cmd.Wait()
	var e *exec.ExitError
	if err != nil && !errors.As(err, &e) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

const aTrigger = "/api/worker?BUILD_REF=1&GIT_BRANCH=main&GIT_FULLURL=https://git.example.com/group/name.git"

// trigger asks for a build, and tells the answer when there is one.
func (p *process) trigger() <-chan string {
	answer := make(chan string, 1)
	go func() {
		res, err := http.Post("http://"+p.address+aTrigger, "", nil)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- res.Status + " " + string(body)
	}()
	return answer
}

// watch follows the workers until the first stream that was complete ends, and returns why that was.
func (p *process) watch(ctx context.Context, synced chan<- bool) error {
	c, err := client.New("http://"+p.address, "", client.Options{})
	if err != nil {
		return err
	}
	complete := false
	for e, err := range c.Events(ctx) {
		switch {
		case err != nil:
			return err
		case e.Kind == client.Synced:
			complete = true
			synced <- true
		case e.Kind == client.Lost && complete:
			return e.Err
		}
	}
	return nil
}

// TestShutdown: a trigger that is being answered is answered, streams end at once, nothing new is taken, and the end is a good one.
func TestShutdown(t *testing.T) {
	p := startProcess(t, "--no-token")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	synced, ended := make(chan bool), make(chan error)
	for range 5 {
		go func() { ended <- p.watch(ctx, synced) }()
		<-synced
	}
	answer := p.trigger()
	p.making()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "the provisioner has ended the stream") {
			t.Errorf("a stream ends with: %v", err)
		}
	}
	if c, err := net.Dial("tcp", p.address); err == nil {
		c.Close()
		t.Error("a connection is taken after the streams have ended")
	}
	p.in.Close()
	if a := <-answer; !strings.HasPrefix(a, "201 ") || !strings.Contains(a, `"workerId"`) {
		t.Errorf("the trigger is answered with %s", a)
	}
	if code := p.end(); code != exitOK {
		t.Errorf("the exit code is %d: %q", code, p.lines)
	}
}

// TestShutdownTwice: a second signal does not wait for anybody.
func TestShutdownTwice(t *testing.T) {
	p := startProcess(t, "--no-token")
	answer := p.trigger()
	p.making()
	for _, then := range []string{"stopping", "requests were cut off"} {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		p.until(then)
	}
	if a := <-answer; strings.HasPrefix(a, "201 ") {
		t.Errorf("the trigger is answered with %s", a)
	}
	if code := p.end(); code != exitOK {
		t.Errorf("the exit code is %d: %q", code, p.lines)
	}
}

// TestServeFile: the settings come from a file and from variables, and what is wrong with them is told by file and line.
func TestServeFile(t *testing.T) {
	dir := t.TempDir()
	cert, key := newCertificate(t, dir, "api")
	path := filepath.Join(dir, "provisioner.yml")
	text := fmt.Sprintf("# settings\ntls-cert: %s\ntls-key: %s\nlimit: 3\nallow: [git.example.com]\n", cert, key)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WHARF_PROVISIONER_NO_TOKEN", "true")
	p := startProcess(t, "--config", path)
	if _, err := serialOf(t, p.address); err != nil {
		t.Errorf("it does not serve by TLS: %v", err)
	}
	p.in.Close()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.end(); code != exitOK {
		t.Errorf("the exit code is %d: %q", code, p.lines)
	}
	for wrong, want := range map[string]string{
		"limit: 3\nlimits: 4\n": ":2: there is no setting \"limits\"; did you mean \"limit\"?", "\nlimit: many": ":2: limit: \"many\": must be a whole number", "keep: 24": ":1: keep: \"24\": must have a unit",
		"tls-cert: [a, b]": ":1: tls-cert: must be one value", "pull: sometimes": ":1: pull: \"sometimes\": must be one of if-not-present", "worker-memory: much": ":1: worker-memory: \"much\": must be a size",
	} {
		if err := os.WriteFile(path, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "--config", path, "--image=i")
		cmd.Env = append(os.Environ(), asProvisioner+"=1")
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(string(out), path+want) {
			t.Errorf("%q: exit code %d, %v, %s; want %s", wrong, code, err, out, want)
		}
	}
}

// TestServeLimits: who has all connections that one address may have does not keep others out, and a request has a head of bounded size.
func TestServeLimits(t *testing.T) {
	p := startProcess(t, "--no-token", "--connections-per-address=3", "--rate=-1")
	var silent []net.Conn
	for range 3 { // slow clients, which send half a request
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\n")
		silent = append(silent, c)
	}
	for range 10 {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("a fourth connection is answered")
		}
		c.Close()
	}
	p.until("an address has as many connections as it may; others are closed")
	from := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}).DialContext, DisableKeepAlives: true}
	res, err := (&http.Client{Transport: from}).Get("http://" + p.address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	fmt.Fprint(silent[0], "Host: localhost\r\nConnection: close\r\n\r\n")
	if text, err := io.ReadAll(silent[0]); err != nil || !strings.Contains(string(text), "200 OK") {
		t.Errorf("a slow client gets %q, %v", text, err)
	}
	for size, want := range map[int]int{200 << 10: http.StatusOK, 300 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		res, err := (&http.Client{Transport: from}).Get("http://" + p.address + "/healthz?BUILD=" + strings.Repeat("1", size))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("a head of %d KiB is answered by %d; want %d", size>>10, res.StatusCode, want)
		}
	}
	p.in.Close()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, c := range silent[1:] {
		c.Close()
	}
	if code := p.end(); code != exitOK {
		t.Errorf("the exit code is %d: %q", code, p.lines)
	}
}

// TestCrowd: 500 clients that come at the same moment, each by a connection of its own, as those of one address do that waits for nobody, are all answered.
func TestCrowd(t *testing.T) {
	const number = 500
	p := startProcess(t, "--no-token")
	go func() { // else it would wait for somebody to read
		for p.log.Scan() {
			continue
		}
	}()
	each := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answers := make(chan string, number)
	for i := range number {
		go func() {
			res, err := each.Post("http://"+p.address+strings.Replace(aTrigger, "BUILD_REF=1", fmt.Sprint("BUILD_REF=", i), 1), "", nil)
			if err != nil {
				answers <- err.Error()
				return
			}
			res.Body.Close()
			answers <- res.Status
		}()
	}
	p.making()
	p.in.Close()
	got := map[string]int{}
	for range number {
		got[<-answers]++
	}
	if got["201 Created"] != number {
		t.Errorf("the answers are %v", got)
	}
}
