package endtoend

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
)

// TestMissing sees what wharf-api is told of builds whose worker cannot say it: that they have failed, with words that say why.
func TestMissing(t *testing.T) {
	p := begin(t)
	api := wharfAPI(t, wharfapitest.Options{})
	for _, name := range []string{"one", "two"} {
		p.aggregator(name, p.url, api)
	}
	d := newDesk(t, nobody)
	p.repository("stays", "main", "stay:\n  here:\n    container:\n      image: "+stepImage+"\n      cmds:\n        - echo it has begun\n        - wget -q -O /dev/null "+d.url+"/begin/${BUILD_REF}\n")
	begun := func(build int) provisioner.Worker {
		t.Helper()
		api.Add(uint64(build))
		w := p.trigger(build, "stays", "main")
		p.report(api, build, "begun", func(b *wharfapitest.Build) bool { return b.Count == 1 })
		return w
	}
	failed := func(build int, what string, since time.Time, want ...string) {
		t.Helper()
		b := p.finished(api, build)
		took := b.Changed[len(b.Changed)-1].Sub(since).Round(10 * time.Millisecond)
		words := strings.Join(messages(b), "\n")
		t.Logf("%s: %s after %v: %q", what, b.Status, took, messages(b))
		if b.Status != "Failed" {
			t.Errorf("%s: the build is %s", what, b.Status)
		}
		for _, w := range want {
			if !strings.Contains(words, w) || strings.Count(words, "wharf: the build") != 1 {
				t.Errorf("%s: it is said %q, and %q should be there, once", what, words, w)
			}
		}
	}

	begun(1)
	killContainers()
	failed(1, "killed", time.Now(), "it has begun", "its worker has ended before it: killed by signal 9 (KILL)")

	w := begun(2)
	tasks, err := p.workers.List(t.Context(), driver.ListOptions{Labels: map[string]string{provisioner.LabelWorker: w.ID}})
	if err != nil || len(tasks) != 1 {
		t.Fatalf("%v, %v", tasks, err)
	}
	since := time.Now()
	if err := p.workers.Remove(t.Context(), tasks[0].ID); err != nil {
		t.Fatal(err)
	}
	failed(2, "removed", since, "it has begun", "the build has failed: its worker")

	w = begun(3)
	since = time.Now()
	if err := p.client.Delete(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	failed(3, "deleted", since, "it has begun", "the build is cancelled")

	api.Add(4)
	p.trigger(4, "stays", "another-branch")
	failed(4, "no such branch", time.Now(), "the branch does not exist")

	api.Add(5)
	p.repository("wrong", "main", "a:\n  b:\n    container: [\n")
	p.trigger(5, "wrong", "main")
	failed(5, "no definition that can be used", time.Now(), "the definition cannot be used")
	p.gone()
	if p.runtime != "kubernetes" { // the others look for the image before there is a worker
		return
	}
	q := p.provisioner("--image=localhost/wharf/none:1")
	api.Add(6)
	q.trigger(6, "stays", "main")
	failed(6, "no such image", time.Now(), "localhost/wharf/none:1")
	q.stop()
	p.gone()
}

// killContainers kills the processes of workers, first those that would start them again.
func killContainers() {
	starters, children := workerProcesses()
	for _, pid := range append(starters, children...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
