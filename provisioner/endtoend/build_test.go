package endtoend

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/wharfci/wharf/provisioner"
	workerclient "github.com/wharfci/wharf/worker/client"
	"github.com/wharfci/wharf/worker/journal"
)

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
	claim, err := c.Claim(t.Context(), workerclient.ClaimOptions{Holder: "the test", Wait: true})
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
	if text := s.stop(); strings.Contains(text, gitToken) || strings.Contains(text, engineToken) {
		t.Errorf("the provisioner tells a secret:\n%s", text)
	}
}

// TestDelete deletes a worker whose build runs, and one that waits.
func TestDelete(t *testing.T) {
	s := begin(t, "--limit=1", "--grace=5s")
	d := newDesk(t, nobody)
	s.repository("slow", "feature/#1$x", d.definition())
	running := s.trigger(1, "slow", "feature/#1$x")
	s.until(running.ID, provisioner.Running)
	queued := s.trigger(2, "slow", "feature/#1$x")
	if queued.State != provisioner.Queued {
		t.Errorf("the second worker is %s", queued.State)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := d.await(ctx, func(d *desk) bool { return d.now == 1 }); err != nil {
		t.Fatalf("no step runs: %v", err)
	}
	s.placed(queued.ID, 1) // the queue is looked at when the trigger has been answered
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
