package worker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/docker"
	"github.com/wharfci/wharf/pipeline"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/journal"
	"github.com/wharfci/wharf/worker/lease"
)

// These tests run real containers. They need a Docker daemon and the image below, see CONTRIBUTING.md.
const image = "localhost/wharf/busybox:1"

// interruptsEnv says how many builds TestInterrupts interrupts; "make soak" has more of them than a usual run.
const interruptsEnv = "WHARF_TEST_INTERRUPTS"

// real is a Docker daemon and an owner of its own on it.
type real struct {
	t     *testing.T
	d     driver.Driver
	state *lease.Dir
}

func onDocker(t *testing.T) *real {
	t.Helper()
	d, err := docker.New(docker.Config{Owner: "worker-" + worker.NewID()})
	if err != nil {
		t.Fatal(err)
	}
	state, err := lease.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &real{t, d, state}
	t.Cleanup(func() {
		r.empty()
		_ = d.Close()
	})
	return r
}

// empty checks that nothing is left on the daemon, and removes what is.
func (r *real) empty() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tasks, err := r.d.List(ctx, driver.ListOptions{})
	for _, t := range tasks {
		r.t.Errorf("task %s is left: %v", t.Name, r.d.Remove(ctx, t.ID))
	}
	sandboxes, serr := driver.ListSandboxes(ctx, r.d, driver.ListOptions{})
	for _, s := range sandboxes {
		r.t.Errorf("sandbox %s is left: %v", s.Name, driver.RemoveSandbox(ctx, r.d, s.ID))
	}
	volumes, verr := r.d.ListVolumes(ctx, driver.ListOptions{})
	for _, v := range volumes {
		if v.Labels[worker.LabelCache] == "" {
			r.t.Errorf("volume %s is left", v.Name)
		}
		_ = r.d.RemoveVolume(ctx, v.ID)
	}
	if err := errors.Join(err, serr, verr); err != nil {
		r.t.Error(err)
	}
}

// logs collects the lines of steps.
type logs map[string][]string

func (r *real) config(text string) worker.Config {
	r.t.Helper()
	def, err := pipeline.Parse(".wharf-ci.yml", []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	plan, err := def.Plan(pipeline.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	return worker.Config{Driver: r.d, Plan: plan, State: r.state, Results: filepath.Join(r.t.TempDir(), "results")}
}

func (r *real) run(cfg worker.Config) (worker.Outcome, logs) {
	r.t.Helper()
	b, err := worker.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := b.Run(context.Background())
	if err != nil {
		r.t.Errorf("Run: %v", err)
	}
	lines := logs{}
	for e, err := range journal.Read(cfg.Results) {
		switch {
		case err != nil:
			r.t.Fatal(err)
		case e.Kind == worker.KindLog:
			lines[e.Step] = append(lines[e.Step], string(e.Line))
		case e.Kind == worker.KindWarning:
			r.t.Logf("warning: %s", e.Reason)
		}
	}
	return out, lines
}

func TestDockerBuild(t *testing.T) {
	t.Parallel()
	r := onDocker(t)
	repo := t.TempDir()
	for name, text := range map[string]string{"hello.txt": "hello\n", "run.sh": "#!/bin/sh\necho ran"} {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(repo, "outside")); err != nil {
		t.Fatal(err)
	}
	store := t.TempDir()
	if err := os.WriteFile(filepath.Join(store, "wharf-here-project-7-secretname-deploy"), []byte("TOKEN=it's \"s3cret\" $x\nUSER_NAME=robot\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := r.config(fmt.Sprintf(`
build:
  files:
    container:
      image: %[1]s
      cmds: [pwd, cat hello.txt, ./run.sh, readlink outside, mkdir -p out/a, echo artifact > out/a/f]
      artifacts: [out/**]
  errors:
    container:
      image: %[1]s
      cmds: [echo on stderr >&2]
  secret:
    container:
      image: %[1]s
      secretName: deploy
      cmds: ['test "$TOKEN" = "it''s \"s3cret\" \$x" && echo same', 'echo "$USER_NAME: $TOKEN"', 'echo $0 $#']
  user:
    container:
      image: %[1]s
      user: "1000"
      cmds: [id -u, touch mine, ls mine]
      cache: [{path: cached, key: k}]
  services:
    container:
      image: %[1]s
      cmds: ['wget -q -O - http://web:8080/f', 'wget -q -O - http://localhost:8080/f']
      services:
        web: {image: %[1]s, cmds: [mkdir /w, echo served > /w/f, exec httpd -f -p 8080 -h /w], ready: {exec: [wget, -q, -O, /dev/null, "http://localhost:8080/f"]}}
check:
  fails:
    container: {image: %[1]s, cmds: [cat out/a/f, exit 42]}
`, image))
	cfg.Repository, cfg.Secrets, cfg.Instance, cfg.ProjectID = repo, store, "here", "7"
	out, lines := r.run(cfg)
	if out != (worker.Outcome{State: worker.Failed, Reason: "check/fails: exited with code 42"}) {
		t.Errorf("outcome %+v", out)
	}
	want := logs{
		"build--files":    {worker.Workspace, "hello", "ran", "/etc/passwd"},
		"build--errors":   {"on stderr"},
		"build--secret":   {"same", "***: ***", "/bin/sh 0"},
		"build--user":     {"1000", "mine"},
		"build--services": {"served", "served"},
		"check--fails":    {"artifact"},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	kept, err := os.ReadFile(filepath.Join(cfg.Results, journal.Artifacts, "build--files", "out", "a", "f"))
	if err != nil || string(kept) != "artifact\n" {
		t.Errorf("artifact %q, %v", kept, err)
	}
}

// Many stages, with sandboxes made ahead: all run, in order, each with a network.
func TestDockerStages(t *testing.T) {
	t.Parallel()
	r := onDocker(t)
	var text strings.Builder
	for i := range 8 {
		fmt.Fprintf(&text, "s%d:\n  a: {container: {image: %[2]s, cmds: [echo %[1]d >> order, ip addr show eth0 | grep -c inet]}}\n", i, image)
	}
	fmt.Fprintf(&text, "end:\n  a: {container: {image: %s, cmds: [cat order | tr -d '\\n']}}\n", image)
	out, lines := r.run(r.config(text.String()))
	if out.State != worker.Succeeded || strings.Join(lines["end--a"], "") != "01234567" {
		t.Errorf("outcome %+v, logs %q", out, lines)
	}
}

// A cache inside the repository hides what the repository has there, from the steps with the cache only.
func TestDockerCacheInside(t *testing.T) {
	t.Parallel()
	r := onDocker(t)
	cfg := r.config(fmt.Sprintf(`
a:
  s: {container: {image: %[1]s, cmds: [ls node, cat f, echo x > new], user: "1000", cache: [{path: node, key: k}]}}
b:
  s: {container: {image: %[1]s, cmds: [cat node/tracked new], user: "1000"}}
`, image))
	cfg.Repository = t.TempDir()
	if err := os.Mkdir(filepath.Join(cfg.Repository, "node"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", "node/tracked"} {
		if err := os.WriteFile(filepath.Join(cfg.Repository, name), []byte(name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, lines := r.run(cfg)
	want := logs{"a--s": {"f"}, "b--s": {"node/tracked", "x"}}
	if diff := cmp.Diff(want, lines); diff != "" || out.State != worker.Succeeded {
		t.Errorf("outcome %+v (-want +got):\n%s", out, diff)
	}
}

// A build that is interrupted at any moment, once or twice, leaves nothing.
func TestDockerInterrupts(t *testing.T) {
	t.Parallel()
	r := onDocker(t)
	n := 5
	if text := os.Getenv(interruptsEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", interruptsEnv, err)
		}
	}
	step := func(script string) string {
		return fmt.Sprintf("{container: {image: %s, cmds: [%q], artifacts: [f]}}", image, script)
	}
	text := "a:\n  s: " + step("echo x > f") + "\n  t: " + step("sleep 0.3") + "\n"
	for i := range 5 {
		text += fmt.Sprintf("b%d:\n  s: %s\n", i, step("true"))
	}
	for i := range n {
		cfg := r.config(text)
		cfg.Repository, cfg.Grace = t.TempDir(), time.Second
		b, err := worker.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		after := rand.N(3 * time.Second)
		twice := i%2 == 1
		timer := time.AfterFunc(after, func() {
			b.Cancel("interrupted")
			if twice {
				b.Cancel("interrupted again")
			}
		})
		out, err := b.Run(context.Background())
		timer.Stop()
		if err != nil || out.State != worker.Cancelled && out.State != worker.Succeeded {
			t.Errorf("interrupted after %s (twice: %v): %+v, %v", after, twice, out, err)
		}
		r.empty()
	}
}
