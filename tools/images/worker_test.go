package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/tools/images/internal/debian"
)

// TestWorkerImage builds the worker image for this machine and loads it into Docker, where its programs have to do what a worker needs of them.
func TestWorkerImage(t *testing.T) {
	t.Chdir("../..")
	if err := run(t.Context(), "", "", []string{"worker"}); err != nil {
		t.Fatal(err)
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker.Close() })
	image, err := docker.ImageInspect(t.Context(), workerTag)
	if err != nil {
		t.Fatal(err)
	}
	if image.Architecture != runtime.GOARCH || len(image.Config.Entrypoint) != 1 {
		t.Errorf("it is for %s, with the entrypoint %q", image.Architecture, image.Config.Entrypoint)
	}
	// Larger than this by far is a package too much.
	if image.Size > 160<<20 {
		t.Errorf("it has %d bytes", image.Size)
	}
	for name, c := range map[string]struct {
		command []string
		want    string
	}{
		"wharf": {[]string{"/usr/local/bin/wharf", "version"}, "wharf "},
		"git":   {[]string{"git", "--version"}, "git version "},
		"ssh":   {[]string{"ssh", "-V"}, "OpenSSH_"},
		"lfs":   {[]string{"git", "lfs", "version"}, "git-lfs/"},
		"home":  {[]string{"sh", "-ec", "cd ~ && git config --global a.b c && git config a.b && ls -d /bin/sh"}, "c\n/bin/sh\n"},
		"tmp":   {[]string{"sh", "-ec", "cd /tmp && git init -q x && ls -d x"}, "x\n"},
		// What has to go through the shell, and what the C library loads by itself.
		"submodule": {[]string{"sh", "-ec", "cd /tmp && git init -q x && cd x && git submodule status && echo good"}, "good\n"},
		"encoding": {[]string{"sh", "-ec", "cd /tmp && git init -q x && cd x && echo 'a working-tree-encoding=UTF-16LE' >.gitattributes && printf 'h\\0i\\0' >a && git add a && git show :a"},
			"hi"},
		"ssh runs": {[]string{"sh", "-c", "GIT_SSH_COMMAND='ssh -p 1 -o BatchMode=yes' git ls-remote git@127.0.0.1:x; true"}, "connect to host 127.0.0.1 port 1: Connection refused"},
	} {
		for _, user := range []string{"root", "nobody"} {
			t.Run(name+" as "+user, func(t *testing.T) {
				t.Parallel()
				if out := inWorker(t, docker, user, nil, c.command...); !strings.Contains(out, c.want) {
					t.Errorf("%q says %q; want %q", c.command, out, c.want)
				}
			})
		}
	}
}

// TestWorkerImageIsReproducible makes the image twice, also wharf itself, by the command: the race detector would take minutes to compress it.
func TestWorkerImageIsReproducible(t *testing.T) {
	t.Chdir("../..")
	command := filepath.Join(t.TempDir(), "images")
	if out, err := exec.Command("go", "build", "-o", command, "./tools/images").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first, second := t.TempDir(), t.TempDir()
	var told []string
	for _, dir := range []string{first, second} {
		if err := os.RemoveAll(filepath.Join("bin", "worker", runtime.GOARCH, "wharf")); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(command, "-oci", dir).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		told = append(told, strings.ReplaceAll(string(out), dir, "."))
	}
	same(t, first, second, "worker.tar", "worker-"+runtime.GOARCH+".tar")
	if told[0] != told[1] || strings.Count(told[0], "sha256:") != 2 {
		t.Errorf("it says %q and then %q", told[0], told[1])
	}
}

// TestWorkerImageTime: the image's time is the newest package's, or what SOURCE_DATE_EPOCH says.
func TestWorkerImageTime(t *testing.T) {
	w := worker{packages: &debian.Set{Packages: []debian.Package{{Made: 3}, {Made: 5}, {Made: 4}}}}
	for epoch, want := range map[string]int64{"": 5, "7": 7} {
		t.Setenv("SOURCE_DATE_EPOCH", epoch)
		if at, err := w.time(); err != nil || at.Unix() != want {
			t.Errorf("with SOURCE_DATE_EPOCH %q: %v, %v; want %d", epoch, at, err, want)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := w.time(); err == nil {
		t.Error("any SOURCE_DATE_EPOCH is accepted")
	}
}

// TestReleaseRefuses names that no registry takes, and architectures that there are no packages for.
func TestReleaseRefuses(t *testing.T) {
	for _, tag := range []string{"", "wharf/worker", "Wharf:1", "wharf/worker:1@sha256:" + strings.Repeat("0", 64)} {
		if err := (release{dir: t.TempDir(), archs: "amd64", tag: tag}).write(); err == nil || !strings.Contains(err.Error(), "-tag") {
			t.Errorf("%q: %v", tag, err)
		}
	}
	if err := (release{dir: t.TempDir(), archs: "amd64,mips", tag: workerTag}).write(); err == nil || !strings.Contains(err.Error(), "mips") {
		t.Errorf("mips: %v", err)
	}
}

// TestWorkerImageClones takes a repository with a file in LFS from a server whose certificate only a file knows.
func TestWorkerImageClones(t *testing.T) {
	t.Chdir("../..")
	if err := run(t.Context(), "", "", []string{"worker"}); err != nil {
		t.Fatal(err)
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker.Close() })
	server := gitServer(t)
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for _, user := range []string{"root", "nobody"} {
		t.Run(user, func(t *testing.T) {
			out := inWorker(t, docker, user, []string{"AUTHORITY=" + authority, "URL=" + server.URL + "/repo.git"}, "sh", "-ec",
				`cd /tmp; if git clone -q $URL x; then exit 1; fi
				echo "$AUTHORITY" >ca; export GIT_SSL_CAINFO=/tmp/ca
				git -c credential.helper='!f() { echo username=me; echo password=secret; }; f' clone -q $URL x; cat x/text x/large`)
			if !strings.HasSuffix(out, "hello\nlarge\n") || !strings.Contains(out, "certificate") {
				t.Errorf("it says %q", out)
			}
		})
	}
}

// inWorker runs a command in a container of the image that shares the test's network, and returns what it printed.
func inWorker(t *testing.T, docker *client.Client, user string, env []string, command ...string) string {
	t.Helper()
	made, err := docker.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config:     &container.Config{Image: workerTag, User: user, Env: env, Entrypoint: command[:1], Cmd: command[1:]},
		HostConfig: &container.HostConfig{NetworkMode: "host"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := docker.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}()
	ended := docker.ContainerWait(t.Context(), made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := docker.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	var code int64
	select {
	case end := <-ended.Result:
		code = end.StatusCode
	case err := <-ended.Error:
		t.Fatal(err)
	}
	logs, err := docker.ContainerLogs(t.Context(), made.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, logs); err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Errorf("%q as %s exits with %d:\n%s", command, user, code, out.String())
	}
	return out.String()
}

// gitServer serves a repository by HTTPS to who shows the right password.
func gitServer(t *testing.T) *httptest.Server {
	t.Helper()
	root := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=test", "-c", "user.email=test@localhost"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	const large = "large\n"
	oid := fmt.Sprintf("%x", sha256.Sum256([]byte(large)))
	pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(large))
	work := filepath.Join(root, "work")
	git("init", "-q", work)
	for name, text := range map[string]string{"text": "hello\n", "large": pointer, ".gitattributes": "large filter=lfs\n"} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("-C", work, "add", ".")
	git("-C", work, "commit", "-q", "-m", "one")
	git("clone", "-q", "--bare", work, filepath.Join(root, "repo.git"))
	backend := &cgi.Handler{
		Path: filepath.Join(git("--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	}
	mux := http.NewServeMux()
	mux.Handle("/", backend)
	var server *httptest.Server
	mux.HandleFunc("POST /repo.git/info/lfs/objects/batch", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
		fmt.Fprintf(w, `{"objects":[{"oid":%q,"size":%d,"authenticated":true,"actions":{"download":{"href":%q}}}]}`, oid, len(large), server.URL+"/large")
	})
	mux.HandleFunc("GET /large", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, large) })
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "secret" && r.URL.Path != "/large" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}
