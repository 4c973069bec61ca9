package endtoend

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/containerd"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/driver/kubernetes"
	"github.com/wharfci/wharf/driver/podman"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/provisioner/client"
	workerclient "github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

// runtimeEnv names the runtime that the tests were started with.
const runtimeEnv = "WHARF_TEST_RUNTIME"

const (
	engineToken = "engine-token"
	gitToken    = "git-token-that-nobody-may-see"
	workerKey   = "a key of the tests alone"
	image       = "localhost/wharf/worker:1"
	account     = "wharf-worker"
)

var wharf string // the command, built once

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wharf-endtoend-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	wharf = filepath.Join(dir, "wharf")
	build := exec.Command("go", "build", "-o", wharf, "../../cmd/wharf")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// system is a provisioner on a runtime, with a Git server beside it.
type system struct {
	t       *testing.T
	runtime string
	owner   string
	base    string // URL of the provisioner
	git     string // URL of the Git server
	repos   string
	client  *client.Client
	workers driver.Driver
	builds  driver.Driver
	said    func() string // what the provisioner printed
}

// open returns a driver for an owner.
func open(t *testing.T, runtime, owner string) driver.Driver {
	t.Helper()
	var d driver.Driver
	var err error
	switch runtime {
	case "docker":
		d, err = docker.New(docker.Config{Owner: owner})
	case "podman":
		d, err = podman.New(podman.Config{Owner: owner})
	case "containerd":
		d, err = containerd.New(containerd.Config{Owner: owner, Cgroup: os.Getenv("CONTAINERD_CGROUP")})
	case "kubernetes":
		d, err = kubernetes.New(kubernetes.Config{Owner: owner})
	default:
		t.Fatalf("$%s is %q: no test for that", runtimeEnv, runtime)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// begin starts a provisioner and a Git server.
func begin(t *testing.T, flags ...string) *system {
	t.Helper()
	s := &system{t: t, runtime: cmp.Or(os.Getenv(runtimeEnv), "docker"), owner: "endtoend", repos: t.TempDir()}
	s.builds, s.workers = open(t, s.runtime, s.owner), open(t, s.runtime, s.owner+"-workers")
	s.warm()
	s.git = s.gitServer()
	s.provisioner(flags...)
	t.Cleanup(s.empty)
	return s
}

// warm runs a task, which makes the runtime's network and shows that it works.
func (s *system) warm() {
	s.t.Helper()
	ctx := s.t.Context()
	id, err := s.builds.Create(ctx, driver.TaskSpec{Name: "warm", Container: driver.Container{Image: "localhost/wharf/busybox:1", Entrypoint: []string{"/bin/true"}}})
	if err == nil {
		err = s.builds.Start(ctx, id)
	}
	if err != nil {
		s.t.Fatalf("a task: %v", err)
	}
	if res, err := s.builds.Wait(ctx, id); err != nil || !res.Succeeded() {
		s.t.Fatalf("a task: %v, %v", res, err)
	}
	if err := s.builds.Remove(ctx, id); err != nil {
		s.t.Fatal(err)
	}
}

// gitServer serves the repositories by HTTP, on an address that containers reach, to whoever has the token.
func (s *system) gitServer() string {
	s.t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		s.t.Fatal(err)
	}
	i := slices.IndexFunc(addresses, func(a net.Addr) bool {
		ip := a.(*net.IPNet).IP
		return ip.To4() != nil && !ip.IsLoopback()
	})
	if i < 0 {
		s.t.Fatalf("there is no address that containers could reach: %v", addresses)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addresses[i].(*net.IPNet).IP.String(), "0"))
	if err != nil {
		s.t.Fatal(err)
	}
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	h := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.repos, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard,
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != gitToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})}
	go server.Serve(l)
	s.t.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String()
}

// repository makes one with a definition on its branch, and returns the commit; an empty definition is none.
func (s *system) repository(name, branch, definition string) string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "work")
	git := func(args ...string) string {
		s.t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		out, err := cmd.CombinedOutput()
		if err != nil {
			s.t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", branch, dir)
	file := ".wharf-ci.yml"
	if definition == "" {
		file = "README"
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(definition), 0o644); err != nil {
		s.t.Fatal(err)
	}
	git("-C", dir, "add", "-A")
	git("-C", dir, "commit", "-q", "-m", "first")
	git("clone", "-q", "--bare", dir, filepath.Join(s.repos, name+".git"))
	return git("-C", dir, "rev-parse", "HEAD")
}

// provisioner starts the command and waits until it serves.
func (s *system) provisioner(flags ...string) {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, text := range map[string]string{"token": engineToken, "key": workerKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	url := s.runtime + "://?owner=" + s.owner
	switch s.runtime {
	case "containerd":
		url += "&cgroup=" + os.Getenv("CONTAINERD_CGROUP")
	case "kubernetes":
		url += "&server=" + grantAccount(s.t)
	}
	args := append([]string{"provisioner", "--driver=" + url, "--listen=127.0.0.1:0", "--image=" + image, "--pull=never", "--token=wharf-api=" + filepath.Join(dir, "token"),
		"--worker-key=" + filepath.Join(dir, "key"), "--allow-http", "--service-account=" + account}, flags...)
	cmd := exec.Command(wharf, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+s.t.TempDir())
	stderr, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	serving, all := make(chan string, 1), make(chan string, 1)
	go func() {
		var text strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&text, lines.Text())
			var entry struct {
				Message string `json:"@message"`
				Address string
			}
			if err := json.Unmarshal(lines.Bytes(), &entry); err == nil && entry.Message == "serving" {
				serving <- entry.Address
			}
		}
		all <- text.String()
		close(serving)
	}()
	ended := false
	s.said = func() string {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		text := <-all
		all <- text
		if err := cmd.Wait(); err != nil && !strings.Contains(err.Error(), "already") {
			s.t.Errorf("the provisioner ended with %v", err)
		}
		if s.t.Failed() {
			s.t.Logf("the provisioner said:\n%s", text)
		}
		return text
	}
	s.t.Cleanup(func() {
		if !ended {
			s.said()
		}
	})
	address, ok := <-serving
	if !ok {
		s.t.Fatalf("the provisioner does not serve:\n%s", s.said())
	}
	s.base = "http://" + address
	if s.client, err = client.New(s.base, engineToken, client.Options{}); err != nil {
		s.t.Fatal(err)
	}
}

// grantAccount makes the workers' account with the documented rights, and returns the address of the API server, which this cluster's pods do not reach as a service.
func grantAccount(t *testing.T) string {
	t.Helper()
	rc, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := api.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/runtimes/kubernetes-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	role := object.(*rbac.Role)
	role.Name = account
	const space = "default"
	ctx := t.Context()
	made := func(_ any, err error) {
		t.Helper()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	made(admin.CoreV1().ServiceAccounts(space).Create(ctx, &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: account}}, meta.CreateOptions{}))
	made(admin.RbacV1().Roles(space).Create(ctx, role, meta.CreateOptions{}))
	made(admin.RbacV1().RoleBindings(space).Create(ctx, &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: account}, RoleRef: rbac.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: account},
		Subjects: []rbac.Subject{{Kind: "ServiceAccount", Name: account, Namespace: space}},
	}, meta.CreateOptions{}))
	return rc.Host
}

// trigger asks for a build as wharf-api does: everything in the query, and no body.
func (s *system) trigger(build int, repository, branch string, more ...string) provisioner.Worker {
	s.t.Helper()
	q := url.Values{
		"BUILD_REF": {fmt.Sprint(build)}, "REPO_NAME": {"shop"}, "REPO_GROUP": {"sales"}, "REPO_BRANCH": {branch}, "GIT_BRANCH": {branch},
		"GIT_FULLURL": {s.git + "/" + repository + ".git"}, "GIT_TOKEN": {gitToken}, "RUN_STAGES": {"ALL"}, "WHARF_PROJECT_ID": {"9"}, "WHARF_INSTANCE": {"prod"}, "token": {engineToken},
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	res, err := http.Post(s.base+"/api/worker?"+q.Encode(), "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var w provisioner.Worker
	if err := json.NewDecoder(res.Body).Decode(&w); err != nil || res.StatusCode/100 != 2 || w.ID == "" {
		s.t.Fatalf("the trigger is answered by %s, %+v, %v", res.Status, w, err)
	}
	return w
}

// until waits for a worker to be in one of the states.
func (s *system) until(id string, states ...provisioner.State) provisioner.Worker {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	var last provisioner.Worker
	for w, err := range s.client.Watch(ctx) {
		if err != nil {
			s.t.Fatalf("watching for %s to be %v: %v; it was %+v", id, states, err, last)
		}
		if w.ID == id {
			if last = w; slices.Contains(states, w.State) {
				return w
			}
			if w.State.Final() && states[0] != provisioner.Removed {
				s.t.Fatalf("worker %s is %s, %s; want %v", id, w.State, w.Reason, states)
			}
		}
	}
	return last
}

// empty wants nothing to be left.
func (s *system) empty() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, d := range []driver.Driver{s.workers, s.builds} {
		tasks, err := d.List(ctx, driver.ListOptions{})
		if err != nil || len(tasks) > 0 {
			s.t.Errorf("there are tasks left: %v, %v", tasks, err)
		}
		volumes, err := d.ListVolumes(ctx, driver.ListOptions{})
		if err != nil || len(volumes) > 0 {
			s.t.Errorf("there are volumes left: %v, %v", volumes, err)
		}
	}
}

const greeting = `
hello:
  greet:
    container:
      image: localhost/wharf/busybox:1
      cmds:
        - echo hello from ${REPO_NAME} ${GIT_BRANCH} ${BUILD_REF} ${EXTRA}
        - if ls /run/wharf* /work 2>/dev/null; then exit 1; fi
`

// TestBuild has a build run, reads its journal where the worker serves it, and lets the worker go.
func TestBuild(t *testing.T) {
	s := begin(t)
	commit := s.repository("shop", "main", greeting)
	w := s.trigger(123, "shop", "main", "EXTRA", "more")
	w = s.until(w.ID, provisioner.Succeeded)
	if w.Commit != commit || w.URL != s.git+"/shop.git" {
		t.Errorf("the worker has built commit %s of %s; want %s", w.Commit, w.URL, commit)
	}
	var lines []string
	c := s.dial(w.ID)
	for e, err := range c.Events(t.Context(), workerclient.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == journal.KindLog {
			lines = append(lines, string(e.Line))
		}
	}
	if !slices.Contains(lines, "hello from shop main 123 more") {
		t.Errorf("the build printed %q", lines)
	}
	claim, err := c.Claim(t.Context(), "the test", true)
	if err != nil {
		t.Fatal(err)
	}
	build, err := c.Build(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := claim.Release(t.Context(), build.Last); err != nil {
		t.Fatal(err)
	}
	s.until(w.ID, provisioner.Removed)
	if text := s.said(); strings.Contains(text, gitToken) || strings.Contains(text, engineToken) {
		t.Errorf("the provisioner tells a secret:\n%s", text)
	}
}

// dial connects to a worker through the driver.
func (s *system) dial(id string) *workerclient.Client {
	s.t.Helper()
	tasks, err := s.workers.List(s.t.Context(), driver.ListOptions{Labels: map[string]string{provisioner.LabelWorker: id}})
	if err != nil || len(tasks) != 1 {
		s.t.Fatalf("the tasks of %s: %v, %v", id, tasks, err)
	}
	c, err := workerclient.Dial("worker", workerclient.Options{
		Token: provisioner.Token([]byte(workerKey), id),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return driver.Dial(ctx, s.workers, tasks[0].ID, provisioner.Port)
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// TestDelete deletes a worker whose build runs, and one that waits.
func TestDelete(t *testing.T) {
	s := begin(t, "--limit=1", "--grace=5s")
	s.repository("slow", "feature/#1$x", strings.Replace(greeting, "- echo", "- exec sleep 1000; echo", 1))
	running := s.trigger(1, "slow", "feature/#1$x")
	s.until(running.ID, provisioner.Running)
	queued := s.trigger(2, "slow", "feature/#1$x")
	if queued.State != provisioner.Queued {
		t.Errorf("the second worker is %s", queued.State)
	}
	c := s.dial(running.ID)
	steps := 0
	for e, err := range c.Events(t.Context(), workerclient.ReadOptions{Follow: true}) { // to its end, if no step ever runs
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == journal.KindStep && e.State == journal.Running {
			steps++
			break
		}
	}
	if steps == 0 {
		t.Fatal("the build has ended without a step that runs")
	}
	for w, err := range s.client.Watch(t.Context()) { // the queue is looked at when the trigger has been answered
		if err != nil {
			t.Fatal(err)
		}
		if w.ID == queued.ID && w.Position == 1 {
			break
		}
	}
	list, err := s.client.Workers(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != queued.ID || list[0].Reason == "" {
		t.Errorf("the list is %+v, %v", list, err)
	}
	for _, id := range []string{queued.ID, running.ID} {
		if err := s.client.Delete(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// TestFails sees what is told of builds that cannot be.
func TestFails(t *testing.T) {
	s := begin(t)
	s.repository("none", "main", "")
	s.repository("wrong", "main", "a:\n  b:\n    container: [\n")
	for i, c := range []struct {
		repository, branch string
		more               []string
		reason             string
	}{
		{"none", "main", nil, "there is no .wharf-ci.yml"},
		{"wrong", "main", nil, "the definition cannot be used"},
		{"none", "other", nil, "branch"},
		{"missing", "main", nil, "not found"},
		{"none", "main", []string{"GIT_TOKEN", "a-wrong-token"}, "credential"},
	} {
		w := s.until(s.trigger(10+i, c.repository, c.branch, c.more...).ID, provisioner.Failed)
		if !strings.Contains(strings.ToLower(w.Reason), c.reason) || strings.Contains(w.Reason, "a-wrong-token") {
			t.Errorf("%s, branch %s, %v: the reason is %q; want %q", c.repository, c.branch, c.more, w.Reason, c.reason)
		}
	}
	removed, err := s.client.Prune(t.Context(), 0)
	if err != nil || len(removed) != 5 {
		t.Errorf("pruned were %v, %v", removed, err)
	}
}
