package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	workerclient "github.com/wharfci/wharf/worker/client"
)

// system is a runtime with provisioners, and a Git server beside it.
type system struct {
	t       testing.TB
	runtime string
	url     string // what --driver gets
	git     string // URL of the Git server
	repos   string
	workers driver.Driver
	builds  driver.Driver
}

// owner is whose tasks the builds are.
const owner = "endtoend"

// prepare makes all but a provisioner.
func prepare(t testing.TB) *system {
	t.Helper()
	s := &system{t: t, runtime: runtimeName(), repos: t.TempDir()}
	s.builds, s.workers = open(t, s.runtime, owner), open(t, s.runtime, owner+"-workers")
	s.warm()
	s.git = serve(t, guarded(s.gitHandler())) // where containers reach it, to who has the token
	s.url = s.runtime + "://?owner=" + owner
	switch s.runtime {
	case "containerd":
		s.url += "&cgroup=" + os.Getenv(cgroupEnv)
	case "kubernetes":
		s.url += "&server=" + grantAccount(t, space)
	}
	return s
}

// begin starts a provisioner and a Git server.
func begin(t testing.TB, flags ...string) *process {
	t.Helper()
	s := prepare(t)
	p := s.provisioner(flags...)
	t.Cleanup(s.empty)
	return p
}

// parameters of a build as wharf-api sends them; more are pairs of name and value, which replace these.
func (s *system) parameters(build int, repository, branch string, more ...string) url.Values {
	q := url.Values{
		"BUILD_REF": {fmt.Sprint(build)}, "REPO_NAME": {"shop"}, "REPO_GROUP": {"sales"}, "REPO_BRANCH": {branch}, "GIT_BRANCH": {branch},
		"GIT_FULLURL": {s.git + "/" + repository + ".git"}, "GIT_TOKEN": {gitToken}, "RUN_STAGES": {"ALL"}, "WHARF_PROJECT_ID": {"9"}, "WHARF_INSTANCE": {"prod"}, "token": {engineToken},
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q
}

// answer is what a provisioner says to a trigger.
type answer struct {
	status     int
	retryAfter string
	worker     provisioner.Worker
	problem    provisioner.Problem
	took       time.Duration
}

// post asks for a build as wharf-api does: everything in the query, and no body.
func (p *process) post(q url.Values) (a answer, err error) {
	begin := time.Now()
	res, err := p.http.Post(p.base+"/api/worker?"+q.Encode(), "", nil)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.status, a.retryAfter = res.StatusCode, res.Header.Get("Retry-After")
	if into := any(&a.worker); res.StatusCode/100 == 2 {
		err = json.NewDecoder(res.Body).Decode(into)
	} else {
		err = json.NewDecoder(res.Body).Decode(&a.problem)
	}
	a.took = time.Since(begin)
	return a, err
}

// trigger asks for a build, and wants it to be accepted.
func (p *process) trigger(build int, repository, branch string, more ...string) provisioner.Worker {
	p.t.Helper()
	a, err := p.post(p.parameters(build, repository, branch, more...))
	if err != nil || a.status/100 != 2 || a.worker.ID == "" {
		p.t.Fatalf("the trigger is answered by %d, %+v, %v; %v", a.status, a.worker, &a.problem, err)
	}
	return a.worker
}

// patience bounds all waiting, so that a test that hangs says for what.
var patience = time.Duration(sample(5, 40)) * time.Minute

// until waits for a worker to be in one of the states.
func (p *process) until(id string, states ...provisioner.State) provisioner.Worker {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	var last provisioner.Worker
	for w, err := range p.client.Watch(ctx) {
		if err != nil {
			p.t.Fatalf("watching for %s to be %v: %v; it was %+v", id, states, err, last)
		}
		if w.ID == id {
			if last = w; slices.Contains(states, w.State) {
				return w
			}
			if w.State.Final() && states[0] != provisioner.Removed {
				p.t.Fatalf("worker %s is %s, %s; want %v", id, w.State, w.Reason, states)
			}
		}
	}
	return last
}

// empty wants nothing to be left.
func (s *system) empty() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, d := range []driver.Driver{s.workers, s.builds} {
		if tasks, err := tasksLeft(ctx, d); err != nil || len(tasks) > 0 {
			s.t.Errorf("there are tasks left: %+v, %v", tasks, err)
		}
		if volumes, err := volumesLeft(ctx, d, driver.ListOptions{}); err != nil || len(volumes) > 0 {
			s.t.Errorf("there are volumes left: %+v, %v", volumes, err)
		}
		wipe(ctx, d)
	}
}

// wipe removes what a test has left that failed, so that the next one sees only its own. What cannot be removed fails that.
func wipe(ctx context.Context, d driver.Driver) {
	tasks, _ := d.List(ctx, driver.ListOptions{})
	for _, t := range tasks {
		_ = d.Remove(ctx, t.ID)
	}
	volumes, _ := d.ListVolumes(ctx, driver.ListOptions{})
	for _, v := range volumes {
		_ = d.RemoveVolume(ctx, v.ID)
	}
}

// tasksLeft returns what tasks there are. They have a few seconds to go: a worker whose removal has begun is none any more to the provisioner, which may be at it still.
func tasksLeft(ctx context.Context, d driver.Driver) (tasks []driver.Task, err error) {
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		tasks, err = d.List(ctx, driver.ListOptions{})
		if err != nil || len(tasks) == 0 || time.Since(begin) > 20*time.Second {
			return tasks, err
		}
	}
}

// volumesLeft returns what volumes there are of a kind. They have a few seconds to go: slots are given back, and a worker's volume is removed, just after the worker has gone, and a runtime tells nobody of volumes.
func volumesLeft(ctx context.Context, d driver.Driver, of driver.ListOptions) (volumes []driver.Volume, err error) {
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		volumes, err = d.ListVolumes(ctx, of)
		if err != nil || len(volumes) == 0 || time.Since(begin) > 40*time.Second {
			return volumes, err
		}
	}
}

// dial connects to a worker through the driver.
func (s *system) dial(id string) *workerclient.Client {
	s.t.Helper()
	c, err := aggregator.Dial(s.workers, []byte(workerKey), id, s.task(id))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}
