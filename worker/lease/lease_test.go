package lease

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// With this variable set, the test's program takes a lease and waits to be killed.
const holderEnv = "WHARF_TEST_HOLD_LEASE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderEnv); dir != "" {
		os.Exit(hold(dir))
	}
	os.Exit(m.Run())
}

func hold(dir string) int {
	d, err := Open(dir)
	if err == nil {
		_, err = d.Take("theirs")
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func held(t *testing.T, d *Dir, build string) bool {
	t.Helper()
	held, err := d.Held(build)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func TestLease(t *testing.T) {
	d := open(t)
	if held(t, d, "a") {
		t.Error("held before it was taken")
	}
	l, err := d.Take("a")
	if err != nil {
		t.Fatal(err)
	}
	if !held(t, d, "a") || held(t, d, "b") {
		t.Error("not held after it was taken")
	}
	if _, err := d.Take("a"); err == nil {
		t.Error("taken twice")
	}
	if err := errors.Join(l.Release(), l.Release()); err != nil {
		t.Error(err)
	}
	if held(t, d, "a") {
		t.Error("held after it was released")
	}
	if _, err := d.Take("../a"); err == nil {
		t.Error("took a lease outside of the directory")
	}
}

// A process that is killed holds no lease, and its build can be taken over.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q", line)
	}
	if !held(t, d, "theirs") {
		t.Error("the lease of a living process is not held")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if held(t, d, "theirs") {
		t.Error("the lease of a dead process is held")
	}
	if l, err := d.Take("theirs"); err != nil {
		t.Error(err)
	} else if err := l.Release(); err != nil {
		t.Error(err)
	}
}

func TestHostIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	hosts := make([]string, 16)
	var wg sync.WaitGroup
	for i := range hosts {
		wg.Go(func() {
			if d, err := Open(dir); err == nil {
				hosts[i] = d.Host()
			}
		})
	}
	wg.Wait()
	if got := slices.Compact(hosts); len(got) != 1 || driver.ValidName(got[0]) != nil {
		t.Errorf("hosts %q", got)
	}
}

func TestCollect(t *testing.T) {
	ctx := context.Background()
	rt := fake.New(fake.Config{Programs: map[string]fake.Program{"": func(ctx context.Context, _ *fake.Proc) int { <-ctx.Done(); return 0 }}})
	d := rt.Open("wharf")
	defer func() { _ = d.Close() }()
	state := open(t)
	alive, err := state.Take("alive")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alive.Release() }()

	for _, build := range []string{"dead", "kept"} {
		l, err := state.Take(build)
		if err == nil {
			err = l.Leave()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	labels := map[string]map[string]string{
		"unseen": state.Labels("unseen"),
		"alive":  state.Labels("alive"), "dead": state.Labels("dead"),
		"kept":    {LabelBuild: "kept", LabelHost: state.Host(), LabelKeep: "true"},
		"foreign": {LabelBuild: "foreign", LabelHost: "elsewhere"},
		"cache":   {"cache": "key"},
	}
	for name, l := range labels {
		v, err := d.CreateVolume(ctx, driver.VolumeSpec{Name: name, Labels: l})
		if err != nil {
			t.Fatal(err)
		}
		s, err := driver.CreateSandbox(ctx, d, driver.SandboxSpec{Name: name, Labels: l})
		if err != nil {
			t.Fatal(err)
		}
		id, err := d.Create(ctx, driver.TaskSpec{Name: name, Labels: l, Sandbox: s, Container: driver.Container{
			Image: "img", Args: []string{"block"}, Mounts: []driver.Mount{{Volume: v, Path: "/v"}}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Start(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	collect := func(opts Options, want ...string) {
		t.Helper()
		opts.State = state
		removed, err := Collect(ctx, d, opts)
		if err != nil {
			t.Error(err)
		}
		var got []string
		for _, r := range removed {
			got = append(got, string(r.Kind)+" "+r.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", opts, diff)
		}
	}
	before := rt.Left("wharf")
	collect(Options{DryRun: true}, "task dead", "sandbox dead", "volume dead")
	if diff := cmp.Diff(before, rt.Left("wharf")); diff != "" {
		t.Errorf("a dry run changed the runtime:\n%s", diff)
	}
	collect(Options{}, "task dead", "sandbox dead", "volume dead")
	collect(Options{})
	if got := len(rt.Left("wharf")); got != len(before)-3 {
		t.Errorf("%d objects are left of %d", got, len(before))
	}
	collect(Options{Kept: true}, "task kept", "sandbox kept", "volume kept")
}

// A copy of a machine or of a home directory leaves alone what the original builds, and a machine that was restarted
// collects what it had begun before.
func TestCopiesAndRestarts(t *testing.T) {
	ctx := context.Background()
	d := fake.New(fake.Config{}).Open("wharf")
	defer func() { _ = d.Close() }()
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	original, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	other, err := Open(copied)
	if err != nil {
		t.Fatal(err)
	}
	if original.Host() != other.Host() {
		t.Fatal("this is no copy")
	}
	l, err := original.Take("build")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.CreateVolume(ctx, driver.VolumeSpec{Name: "v", Labels: original.Labels("build")}); err != nil {
		t.Fatal(err)
	}
	if removed, err := Collect(ctx, d, Options{State: other}); len(removed) > 0 || err != nil {
		t.Errorf("the copy removes %v, %v", removed, err)
	}
	if err := l.file.Close(); err != nil { // as the end of the machine does
		t.Fatal(err)
	}
	elsewhere := fake.New(fake.Config{}).Open("wharf")
	defer func() { _ = elsewhere.Close() }()
	if removed, err := Collect(ctx, elsewhere, Options{State: original}); len(removed) > 0 || err != nil {
		t.Errorf("on another runtime: removed %v, %v", removed, err)
	}
	if restarted, err := Open(dir); err != nil || restarted.Host() != original.Host() {
		t.Errorf("after a restart: host %v, %v", restarted, err)
	} else if removed, err := Collect(ctx, d, Options{State: restarted}); len(removed) != 1 || err != nil {
		t.Errorf("after a restart: removed %v, %v", removed, err)
	}
}

func TestHostDependsOnMachine(t *testing.T) {
	hosts := []string{onMachine("a", nil), onMachine("a", []byte("1\n")), onMachine("a", []byte("2\n")), onMachine("b", []byte("1\n"))}
	for i, host := range hosts {
		if slices.Index(hosts, host) != i || driver.ValidName(host) != nil {
			t.Errorf("hosts %q", hosts)
		}
	}
	if onMachine("a", []byte("1")) != hosts[1] {
		t.Error("a newline makes another host")
	}
}

// Leases of dead builds stay for long, not for ever; those of the living do.
func TestOldLeasesGo(t *testing.T) {
	d := open(t)
	for build, age := range map[string]time.Duration{"new": 0, "old": forgotten + time.Hour, "alive": forgotten + time.Hour} {
		l, err := d.Take(build)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(l.path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		if build == "alive" {
			defer func() { _ = l.Release() }()
		} else if err := errors.Join(l.Leave(), l.Release()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.sweep(); err != nil {
		t.Fatal(err)
	}
	for build, want := range map[string]bool{"new": true, "old": false, "alive": true} {
		if _, here, err := d.look(build); here != want || err != nil {
			t.Errorf("the lease %s lies here: %v, %v; want %v", build, here, err, want)
		}
	}
}
