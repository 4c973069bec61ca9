package worker

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// The step whose task fills the workspace has a cache where the repository has files: it sees the cache, others see the files,
// and the cache does not keep them.
func TestCacheInsideTheRepository(t *testing.T) {
	for _, user := range []string{"0", "1000"} {
		b := newBench(t, fake.Config{})
		cfg := b.config(plan(t, `
a:
  s: {container: {image: img, cmds: ["cat f", "cat node/tracked"], user: "`+user+`", cache: [{path: node, key: k}]}}
b:
  run-if: always
  s: {container: {image: img, cmds: ["cat node/tracked", "write new x"], user: "`+user+`"}}
`))
		cfg.Repository = repository(t, map[string]string{"node/tracked": "hello", "f": "x"})
		b.run(cfg)
		if diff := cmp.Diff([]State{Failed, Succeeded}, []State{b.last(KindStep, "a--s"), b.last(KindStep, "b--s")}); diff != "" {
			t.Errorf("user %s: %s%q %q", user, diff, b.log("a--s"), b.log("b--s"))
		}
		if log := b.log("a--s"); log[0] != "x" || !strings.Contains(log[1], "tracked") {
			t.Errorf("the step with the cache printed %q", log)
		}
	}
}

// A cache says whose it is, so that a person can decide whether it may go.
func TestCacheNamesItsProject(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, "a:\n  s: {container: {image: img, cmds: [echo], cache: [{path: y, key: numbers}]}}\n"))
	cfg.Project = "/home/me/shop"
	b.run(cfg)
	volumes, err := b.d.ListVolumes(context.Background(), driver.ListOptions{Labels: map[string]string{LabelCache: "numbers", LabelProject: "/home/me/shop"}})
	if err != nil || len(volumes) != 1 {
		t.Errorf("volumes %+v, %v", volumes, err)
	}
}

func TestSecretInTheKeyOfACache(t *testing.T) {
	b := newBench(t, fake.Config{})
	p := plan(t, "a:\n  s: {container: {image: img, cmds: [x], cache: [{path: y, key: k-hunter2}]}}\n")
	p.Secrets = []string{"hunter2"}
	if _, err := New(b.config(p)); err == nil || !strings.Contains(err.Error(), "the key holds a secret") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("New: %v", err)
	}
}
