package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/worker/lease"
)

// A log that breaks off is resumed: no line is lost, and none is there twice.
func TestLogIsResumed(t *testing.T) {
	b := newBench(t, fake.Config{})
	var script, want []string
	for i := range 100 {
		script = append(script, fmt.Sprint("echo ", i))
		want = append(want, fmt.Sprint(i))
	}
	for _, after := range []int{0, 1, 50, 98} {
		b.d.Inject(fake.Fault{Op: "next", After: after, Times: 1, Err: errAway})
	}
	if out := b.run(b.config(plan(t, steps("a", strings.Join(script, "; "))))); out.State != Succeeded {
		t.Errorf("outcome %+v", out)
	}
	if diff := cmp.Diff(want, b.log("a--s0")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if w := b.warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestKeep(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, steps("a", "write f x; exit 1", "echo")+steps("never", "echo")))
	cfg.Keep, cfg.Labels = true, map[string]string{"mine": "yes"}
	build, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := build.Run(context.Background()); out.State != Failed || err != nil {
		t.Errorf("outcome %+v, %v", out, err)
	}
	ctx := context.Background()
	tasks, err := b.d.List(ctx, driver.ListOptions{Labels: map[string]string{"mine": "yes", lease.LabelBuild: build.ID(), lease.LabelKeep: "true"}})
	if err != nil || len(tasks) != 2 {
		t.Errorf("%d tasks are kept, %v; want the two that ran", len(tasks), err)
	}
	if removed, err := lease.Collect(ctx, b.d, lease.Options{State: b.state}); len(removed) != 0 || err != nil {
		t.Errorf("collected %v, %v", removed, err)
	}
	if removed, err := lease.Collect(ctx, b.d, lease.Options{State: b.state, Kept: true}); len(removed) != 3 || err != nil {
		t.Errorf("collected %v, %v; want two tasks and the workspace", removed, err)
	}
	b.clean(build)
}

func TestCertificates(t *testing.T) {
	const text = "a:\n  s: {container: {image: img, cmds: [%s], certificatesMountPath: /certs}}\n"
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, fmt.Sprintf(text, "cat /certs/ca.pem")))
	cfg.Certificates = repository(t, map[string]string{"ca.pem": "PEM"})
	if out := b.run(cfg); out.State != Succeeded || !slices.Equal(b.log("a--s"), []string{"PEM"}) {
		t.Errorf("outcome %+v, log %q", out, b.log("a--s"))
	}
	b = newBench(t, fake.Config{})
	if out := b.run(b.config(plan(t, fmt.Sprintf(text, "echo")))); out.State != Succeeded || len(b.warnings()) != 1 {
		t.Errorf("outcome %+v, warnings %q", out, b.warnings())
	}
}

func TestRepositoryVanishes(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, steps("a", "echo", "echo")))
	cfg.Repository = filepath.Join(t.TempDir(), "repo")
	if err := os.Mkdir(cfg.Repository, 0o755); err != nil {
		t.Fatal(err)
	}
	build, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cfg.Repository); err != nil {
		t.Fatal(err)
	}
	out, err := build.Run(context.Background())
	if err != nil || out.State != Errored || !strings.Contains(out.Reason, "the workspace could not be filled: repository: ") {
		t.Errorf("outcome %+v, %v", out, err)
	}
	b.clean(build)
	b.consistent()
}

func TestResultsAreRefused(t *testing.T) {
	b := newBench(t, fake.Config{})
	cfg := b.config(plan(t, steps("a", "echo")))
	if out := b.run(cfg); out.State != Succeeded {
		t.Fatalf("outcome %+v", out)
	}
	cfg.ID = ""
	build, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := build.Run(context.Background()); out.State != Errored || err == nil || !strings.Contains(err.Error(), "another build") {
		t.Errorf("outcome %+v, %v", out, err)
	}
	if out, err := build.Run(context.Background()); out.State != Errored || err == nil {
		t.Errorf("a second Run: %+v, %v", out, err)
	}
	b.clean(build)
}

func TestOwner(t *testing.T) {
	step := func(user string) string { return fmt.Sprintf("{container: {image: i, cmds: [x], user: %q}}", user) }
	none := "{container: {image: i, cmds: [x]}}"
	for _, c := range []struct {
		steps []string
		uid   int
		open  bool
	}{
		{[]string{none, none}, 0, false}, {[]string{step("1000"), step("1000")}, 1000, false}, {[]string{step("1000"), none}, 0, true},
		{[]string{step("build")}, 0, true}, {[]string{step("root"), step("0"), none}, 0, false}, {[]string{step("7:8"), step("9")}, 0, true},
	} {
		text := "a:\n"
		for i, s := range c.steps {
			text += fmt.Sprintf("  s%d: %s\n", i, s)
		}
		if got := owner(plan(t, text)); got.UID != c.uid || (got.DirMode != 0) != c.open {
			t.Errorf("%q: %+v, want uid %d, open %v", c.steps, got, c.uid, c.open)
		}
	}
}

// The lease of a build that leaves nothing goes with it. It stays where something may be left, and can have been taken before.
func TestLeaseStaysWhereSomethingMay(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		fault *fake.Fault
		keep  bool
		stays bool
	}{
		"succeeded":          {steps("a", "echo"), nil, false, false},
		"failed":             {steps("a", "exit 3"), nil, false, false},
		"kept":               {steps("a", "echo"), nil, true, true},
		"an answer was lost": {steps("a", "echo"), &fake.Fault{Op: "create", Times: 1, Err: errAway}, false, true},
		"stopped":            {"timeout: 1s\n" + steps("a", "block"), nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, fake.Config{})
			if c.fault != nil {
				b.d.Inject(*c.fault)
			}
			cfg := b.config(plan(t, c.text))
			dir := t.TempDir()
			state, err := lease.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			cfg.State, cfg.Keep, cfg.ID = state, c.keep, NewID()
			if cfg.Lease, err = state.Take(cfg.ID); err != nil {
				t.Fatal(err)
			}
			build, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			out, err := build.Run(context.Background())
			if held, err := state.Held(cfg.ID); held || err != nil {
				t.Errorf("the lease is held: %v, %v", held, err)
			}
			if _, serr := os.Stat(filepath.Join(dir, "leases", cfg.ID)); (serr == nil) != c.stays || err != nil {
				t.Errorf("outcome %+v, %v; the lease: %v, want it to stay: %v", out, err, serr, c.stays)
			}
		})
	}
}

// A step whose command never ran is not said to run; one that ends at once is.
func TestRunningIsSaidOfWhatRuns(t *testing.T) {
	for text, want := range map[string][]State{
		"{container: {image: img, cmds: [exit 1]}}":                                                                           {Starting, Running, Failed},
		"{container: {image: img, cmds: [block], timeout: 1s}}":                                                               {Starting, Running, Failed},
		"{container: {image: img, cmds: [echo], user: nobody-of-the-sort}}":                                                   {Starting, Failed},
		"{container: {image: img, cmds: [echo], services: {db: {image: img, cmds: [block], ready: {tcp: 80}, timeout: 9s}}}}": {Starting, Failed},
	} {
		inBubble(t, func(t *testing.T) {
			b := newBench(t, fake.Config{})
			b.run(b.config(plan(t, "a:\n  s: "+text+"\n")))
			if diff := cmp.Diff(want, slices.DeleteFunc(b.states(KindStep, "a--s"), func(s State) bool { return s == Preparing })); diff != "" {
				t.Errorf("%s: %+v (-want +got):\n%s", text, b.reason("a--s"), diff)
			}
		})
	}
}
