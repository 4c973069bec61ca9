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

// missing sees what wharf-api is told of builds whose worker cannot say it.
type missing struct {
	*process
	api *wharfapitest.Server
}

// waiting is a definition whose only step says that it has begun, and waits at the desk.
func (d *desk) waiting() string {
	return "stay:\n  here:\n    container:\n      image: " + stepImage + "\n      cmds:\n        - echo it has begun\n        - wget -q -O /dev/null " + d.url + "/begin/${BUILD_REF}\n"
}

// triggered triggers a build that stays.
func (m *missing) triggered(build int) provisioner.Worker {
	m.t.Helper()
	m.api.Add(uint64(build))
	return m.trigger(build, "stays", "main")
}

// begun has one begin, and returns its worker's task.
func (m *missing) begun(build int) (provisioner.Worker, driver.TaskID) {
	m.t.Helper()
	w := m.triggered(build)
	m.report(m.api, build, "begun", func(b *wharfapitest.Build) bool { return b.Count == 1 })
	return w, m.task(w.ID)
}

// task is a worker's task.
func (s *system) task(worker string) driver.TaskID {
	s.t.Helper()
	tasks, err := s.workers.List(s.t.Context(), driver.ListOptions{Labels: map[string]string{provisioner.LabelWorker: worker}})
	if err != nil || len(tasks) != 1 {
		s.t.Fatalf("the tasks of %s: %v, %v", worker, tasks, err)
	}
	return tasks[0].ID
}

// failed waits until a build has ended, and wants it to have failed with words, once.
func (m *missing) failed(build int, what string, since time.Time, want ...string) {
	m.t.Helper()
	b := m.finished(m.api, build)
	took := b.Changed[len(b.Changed)-1].Sub(since).Round(10 * time.Millisecond)
	words := strings.Join(messages(b), "\n")
	m.t.Logf("%s: %s after %v: %q", what, b.Status, took, messages(b))
	if b.Status != "Failed" {
		m.t.Errorf("%s: the build is %s", what, b.Status)
	}
	for _, w := range want {
		if !strings.Contains(words, w) || strings.Count(words, "wharf: the build") != 1 {
			m.t.Errorf("%s: it is said %q, and %q should be there, once", what, words, w)
		}
	}
}

// TestMissing sees what wharf-api is told of builds whose worker cannot say it: that they have failed, with words that say why.
func TestMissing(t *testing.T) {
	p := begin(t)
	m := &missing{p, wharfAPI(t, wharfapitest.Options{})}
	for _, name := range []string{"one", "two"} {
		p.aggregator(name, p.url, m.api)
	}
	p.repository("stays", "main", newDesk(t, nobody).waiting())

	m.begun(1)
	killContainers()
	m.failed(1, "killed", time.Now(), "it has begun", "its worker has ended before it: killed by signal 9 (KILL)")

	_, task := m.begun(2)
	since := time.Now()
	if err := p.workers.Remove(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	m.failed(2, "removed", since, "it has begun", "its worker") // which may be told to end, and say so itself

	w, _ := m.begun(3)
	since = time.Now()
	if err := p.client.Delete(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	m.failed(3, "deleted", since, "it has begun", "the build is cancelled")

	m.api.Add(4)
	p.trigger(4, "stays", "another-branch")
	m.failed(4, "no such branch", time.Now(), "the branch does not exist")

	m.api.Add(5)
	p.repository("wrong", "main", "a:\n  b:\n    container: [\n")
	p.trigger(5, "wrong", "main")
	m.failed(5, "no definition that can be used", time.Now(), "the definition cannot be used")

	q := &missing{p.provisioner("--worker-memory=12MiB", "--rate=-1"), m.api}
	q.triggered(6)
	q.failed(6, "out of memory", time.Now(), "out of memory", "--worker-memory")
	q.stop()
	p.gone()
	if p.runtime == "kubernetes" {
		m.inCluster()
	}
}

// killContainers kills the processes of workers, first those that would start them again.
func killContainers() {
	starters, children := workerProcesses()
	for _, pid := range append(starters, children...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
