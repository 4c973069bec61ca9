package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/aggregator/watchdog"
	"github.com/wharfci/wharf/provisioner"
)

// asWharf makes this program wharf.
const asWharf = "WHARF_TEST_AS_WHARF"

func TestWatchdogSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, empty := write("token", "secret\n"), write("empty", "\n")
	cert, _ := newCertificate(t, dir, "a")
	api, place := "--wharf-api=https://wharf.example", "--provisioner=https://provisioner.example:5009"
	oidc := []string{api, place, "--oidc-token-url=https://login.example/token"}
	for name, c := range map[string]struct {
		args []string
		want string // in the error; empty for none
	}{
		"good":                  {args: []string{api, place}},
		"everything":            {args: []string{api, place, "--provisioner=http://127.0.0.1:5009", "--provisioner-token=" + token, "--provisioner-ca=" + cert, "--wharf-api-token=" + token, "--wharf-api-ca=" + cert, "--instance=a", "--engine=e", "--grace=1s", "--http="}},
		"no wharf-api":          {args: []string{place}, want: "--wharf-api is missing"},
		"no URL of wharf-api":   {args: []string{place, "--wharf-api=wharf.example"}, want: `--wharf-api: wharf-api: "wharf.example" must be a URL`},
		"no provisioner":        {args: []string{api}, want: "--provisioner is missing"},
		"no URL of provisioner": {args: []string{api, "--provisioner=provisioner:5009"}, want: `--provisioner "provisioner:5009": must be a URL`},
		"a provisioner twice":   {args: []string{api, place, place}, want: "--provisioner https://provisioner.example:5009: is given twice"},
		"no token file":         {args: []string{api, place, "--wharf-api-token=" + dir + "/none"}, want: "--wharf-api-token: stat " + dir + "/none"},
		"an empty token":        {args: []string{api, place, "--provisioner-token=" + empty}, want: "--provisioner-token: " + empty + " is empty"},
		"two tokens":            {args: []string{api, place, "--provisioner-token=" + write("two", "one\ntwo\n")}, want: "must be one word"},
		"no certificate":        {args: []string{api, place, "--wharf-api-ca=" + token}, want: "--wharf-api-ca: " + token + " has no certificate in PEM"},
		"no certificates":       {args: []string{api, place, "--provisioner-ca=" + dir + "/none"}, want: "--provisioner-ca: open "},
		"no grace":              {args: []string{api, place, "--grace=0"}, want: "--grace: must be more than 0"},
		"never":                 {args: []string{api, place, "--every=-1s"}, want: "--every: must be more than 0"},
		"none":                  {args: []string{api, place, "--most=0"}, want: "--most: must be more than 0"},
		"no address":            {args: []string{api, place, "--http=5011"}, want: `--http "5011": must be host:port`},
		"OIDC":                  {args: append(oidc, "--oidc-client-id=a", "--oidc-client-secret="+token, "--oidc-scope=b")},
		"OIDC and a token":      {args: append(oidc, "--oidc-client-id=a", "--oidc-client-secret="+token, "--wharf-api-token="+token), want: "give one of them"},
		"OIDC without client":   {args: append(oidc, "--oidc-client-secret="+token), want: "--oidc-client-id is missing"},
		"OIDC without secret":   {args: append(oidc, "--oidc-client-id=a"), want: "--oidc-client-secret is missing"},
		"OIDC without URL":      {args: []string{api, place, "--oidc-scope=a"}, want: "are for --oidc-token-url, which is missing"},
		"OIDC without TLS":      {args: []string{api, place, "--oidc-token-url=http://login.example/token", "--oidc-client-id=a", "--oidc-client-secret=" + token}, want: "must be a URL such as https://"},
	} {
		t.Run(name, func(t *testing.T) {
			w := watching{log: newLog("watchdog", 0)}
			if err := w.command().ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			dog, err := w.settle()
			switch {
			case c.want == "" && (err != nil || dog == nil):
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v; want %q", err, c.want)
			}
		})
	}
}

// A wrong setting is told with where it stands, and nothing is begun.
func TestWatchdogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog.yml")
	if err := os.WriteFile(path, []byte("wharf-api: https://wharf.example\ngrace: 5\ninstances: [a]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := run(t, "watchdog", "--config", path)
	for _, want := range []string{path + `:2: grace: "5": must have a unit`, path + `:3: there is no setting "instances"; did you mean "instance"?`} {
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, %s; want %s", code, stderr, want)
		}
	}
}

// bare is a provisioner with certain workers, which says who asked with what token, and what it was to delete.
type bare struct {
	*httptest.Server
	workers []provisioner.Worker
	token   atomic.Value
	deleted atomic.Value
	asked   chan struct{}
}

func newBare(t *testing.T, workers ...provisioner.Worker) *bare {
	open := make(chan struct{})
	close(open)
	return newHanging(t, open, workers...)
}

// newHanging returns one whose lists come when a channel is closed.
func newHanging(t *testing.T, until <-chan struct{}, workers ...provisioner.Worker) *bare {
	b := &bare{workers: workers, asked: make(chan struct{}, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /api/worker", func(w http.ResponseWriter, r *http.Request) {
		b.token.Store(r.Header.Get("Authorization"))
		select {
		case b.asked <- struct{}{}:
		default: // nobody has looked for long
		}
		<-until
		_ = json.NewEncoder(w).Encode(provisioner.List{Workers: b.workers})
	})
	mux.HandleFunc("GET /api/worker/{id}", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(b.workers[0]) })
	mux.HandleFunc("DELETE /api/worker/{id}", func(w http.ResponseWriter, r *http.Request) {
		b.deleted.Store(r.PathValue("id"))
		w.WriteHeader(http.StatusNoContent)
	})
	b.Server = httptest.NewServer(mux)
	t.Cleanup(b.Close)
	return b
}

// What --once finds is its exit code.
func TestWatchdogOnce(t *testing.T) {
	for name, c := range map[string]struct {
		active  []uint64
		workers []provisioner.Worker
		args    []string
		want    int
		says    string
	}{
		"nothing":         {active: []uint64{7}, workers: []provisioner.Worker{{ID: "build-7", Build: 7, State: provisioner.Running}}, want: exitOK, says: "everything is decided"},
		"a build":         {active: []uint64{7}, want: exitFailed, says: "a build has no worker; it fails"},
		"what would be":   {active: []uint64{7}, args: []string{"--dry-run"}, want: exitFailed, says: "it would fail"},
		"a worker":        {workers: []provisioner.Worker{{ID: "build-8", Build: 8, State: provisioner.Running}}, want: exitFailed, says: "nobody wants a worker; it is deleted"},
		"too much":        {active: []uint64{1, 2, 3, 4, 5, 6}, want: exitTrouble, says: "6 of 6 active builds have no worker"},
		"a wrong address": {args: []string{"--provisioner=http://127.0.0.1:1"}, want: exitTrouble, says: "a provisioner does not say which workers there are: http://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			api, place := newAPI(t, "secret"), newBare(t, c.workers...)
			for _, id := range c.active {
				api.Add(id)
			}
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"watchdog", "--once", "--wharf-api", api.URL(), "--wharf-api-token", token, "--provisioner", place.URL, "--provisioner-token", token, "--grace=60ms", "--every=30ms"}, c.args...)
			code, _, stderr := run(t, args...)
			if code != c.want || !strings.Contains(stderr, c.says) {
				t.Errorf("exit code %d, want %d, with %q: %s", code, c.want, c.says, stderr)
			}
			if got := place.token.Load(); got != "Bearer secret" && name != "a wrong address" {
				t.Errorf("the provisioner is shown %q", got)
			}
			failed, deleted := api.Build(7).Status == "Failed", place.deleted.Load() == "build-8"
			if failed != (name == "a build") || deleted != (name == "a worker") {
				t.Errorf("the build has failed: %v, the worker was deleted: %v", failed, deleted)
			}
		})
	}
}

// startWatchdog starts one in a process of its own, and returns where it serves.
func startWatchdog(t *testing.T, args ...string) (cmd *exec.Cmd, address string) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0], append([]string{"watchdog", "--http=127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), asWharf+"=1")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		said = append(said, lines.Text())
		var line map[string]any
		if json.Unmarshal(lines.Bytes(), &line) == nil && line["@message"] == "serving" {
			go func() { // else it would wait for somebody to read
				for lines.Scan() {
					continue
				}
			}()
			return cmd, fmt.Sprint("http://", line["address"])
		}
	}
	t.Fatalf("it does not serve: %q", said)
	return nil, ""
}

// A watchdog that is killed between the line and the state leaves the rest to the next one, which says nothing twice.
func TestWatchdogKilled(t *testing.T) {
	api, place := newAPI(t, ""), newBare(t)
	api.Add(7)
	reached, killed := make(chan struct{}), make(chan struct{})
	api.SetFault(func(c wharfapitest.Call) (f wharfapitest.Fault) {
		if c.Kind == wharfapitest.PutStatus {
			reached <- struct{}{}
			<-killed
			f.Refuse = http.StatusInternalServerError
		}
		return f
	})
	args := []string{"--wharf-api", api.URL(), "--provisioner", place.URL, "--grace=60ms", "--every=30ms"}
	first, _ := startWatchdog(t, args...)
	<-reached
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	close(killed)
	api.SetFault(nil)
	second, _ := startWatchdog(t, args...)
	giveUp := make(chan struct{})
	defer time.AfterFunc(time.Minute, func() { close(giveUp) }).Stop()
	b, ok := api.Until(7, giveUp, func(b *wharfapitest.Build) bool { return b.Status == "Failed" })
	if !ok || len(b.Lines) != 1 || !strings.HasPrefix(b.Lines[0].Message, watchdog.Words) {
		t.Errorf("it is %s, with the lines %v", b.Status, b.Lines)
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// SIGTERM ends it at once, also while a provisioner does not answer.
func TestWatchdogShutdown(t *testing.T) {
	hang := make(chan struct{})
	api, place := newAPI(t, ""), newHanging(t, hang)
	defer close(hang)
	cmd, at := startWatchdog(t, "--wharf-api", api.URL(), "--provisioner", place.URL)
	<-place.asked
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/metrics": http.StatusOK} {
		res, err := http.Get(at + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s is answered with %s", path, res.Status)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
