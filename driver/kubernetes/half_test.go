package kubernetes_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes"
)

// Variables of the environment that make the test binary a process that makes half a task, and is to be killed then.
const (
	halfOwner      = "WHARF_TEST_HALF_OWNER"
	halfKubeconfig = "WHARF_TEST_HALF_KUBECONFIG"
)

// held keeps back requests of a method for a kind of objects until it is released. It tells of the first.
type held struct {
	method, kind    string
	next            http.RoundTripper
	first           sync.Once
	asked, released chan struct{}
}

func (h *held) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == h.method && strings.Contains(r.URL.Path+"/", "/"+h.kind+"/") {
		h.first.Do(func() { close(h.asked) })
		select {
		case <-h.released:
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	return h.next.RoundTrip(r)
}

// holding returns a driver whose requests of a method for a kind of objects wait for release after asked was closed.
func holding(cfg kubernetes.Config, method, kind string) (d driver.Driver, h *held, err error) {
	h = &held{method: method, kind: kind, asked: make(chan struct{}), released: make(chan struct{})}
	cfg.Transport = func(next http.RoundTripper) http.RoundTripper {
		h.next = next
		return h
	}
	d, err = kubernetes.New(cfg)
	return d, h, err
}

// holding is the function of that name for a driver of this site, behind a gate or not, that is closed with the test.
func (s *site) holding(gate bool, method, kind string) (driver.Driver, *held) {
	s.t.Helper()
	cfg := s.Config
	cfg.Owner, cfg.Gate = "survive", gate
	d, h, err := holding(cfg, method, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { d.Close() })
	return d, h
}

// secretive is a task that prints its secret.
func secretive() driver.TaskSpec {
	spec := program("half", "cat", "/run/secrets/one")
	spec.Secrets = []driver.Secret{{Name: "one", Path: "/run/secrets/one", Value: []byte("secret")}}
	return spec
}

// makeHalf tells, in a line, when there is a pod whose Secret would come next, and waits for its end.
func makeHalf(owner string) int {
	d, h, err := holding(kubernetes.Config{Kubeconfig: os.Getenv(halfKubeconfig), Owner: owner}, http.MethodPost, "secrets")
	if err == nil {
		go func() {
			<-h.asked
			fmt.Println("half")
		}()
		_, err = d.Create(context.Background(), secretive())
	}
	fmt.Fprintln(os.Stderr, "the task was not to be made:", err)
	return 1
}

// killHalfway has another process make a task, and kills it between the pod and its Secret.
func (s *site) killHalfway(owner string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), halfOwner+"="+owner, halfKubeconfig+"="+s.Config.Kubeconfig)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "half\n" {
		s.t.Errorf("the process that makes the task says %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		s.t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}

// A process that makes a task is killed before the task's Secret is there: others see what it is, cannot start it, and can remove it.
func TestMakerIsKilled(t *testing.T) {
	s := newSite(t)
	told := s.events()
	s.killHalfway("survive")
	if ev := <-told; ev.State != driver.StateUnknown || ev.Removed || ev.Reason == "" {
		t.Errorf("the first event: %+v; want a task of unknown state, and why", ev)
	}
	list, err := s.d.List(t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 {
		t.Fatalf("List: %+v, %v; want the task", list, err)
	}
	half := list[0]
	if half.State != driver.StateUnknown || !half.Incomplete || half.Name != "half" || half.Reason == "" {
		t.Errorf("List: %+v; want that it is not complete, and why", half)
	}
	if err := s.d.Start(t.Context(), half.ID); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Start: %v; want FailedPrecondition", err)
	}
	if _, err := s.d.Create(t.Context(), secretive()); !errdefs.IsAlreadyExists(err) {
		t.Errorf("Create of the same name: %v; want AlreadyExists", err)
	}
	if err := s.d.Remove(t.Context(), half.ID); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if left, err := s.Harness.Left(t.Context(), "survive"); err != nil || len(left) > 0 {
		t.Errorf("after Remove there is %v, %v", left, err)
	}
	if ev := <-told; !ev.Removed || ev.Task != half.ID {
		t.Errorf("the event after Remove: %+v", ev)
	}
}

// Someone else looks at a task while it is made, and is told when it is complete.
func TestSeenInMaking(t *testing.T) {
	s := newSite(t)
	maker, h := s.holding(false, http.MethodPost, "secrets")
	told := s.events()
	created := make(chan error, 1)
	go func() {
		_, err := maker.Create(t.Context(), secretive())
		created <- err
	}()
	<-h.asked
	ev := <-told
	if err := s.d.Start(t.Context(), ev.Task); ev.State != driver.StateUnknown || !errdefs.IsFailedPrecondition(err) {
		t.Errorf("the first event: %+v, and Start: %v; want an unknown state, and FailedPrecondition", ev, err)
	}
	close(h.released)
	if ev := <-told; ev.State != driver.StateCreated {
		t.Errorf("the next event: %+v; want that the task is created", ev)
	}
	if err := s.d.Start(t.Context(), ev.Task); err != nil {
		t.Errorf("Start of what is complete: %v", err)
	}
	if err := <-created; err != nil {
		t.Errorf("Create: %v", err)
	}
	if res, err := s.d.Wait(t.Context(), ev.Task); err != nil || !res.Succeeded() {
		t.Errorf("Wait: %v, %v", res, err)
	}
}

// A task is removed by someone else while it is made: the maker is told, and what it made meanwhile is gone.
func TestRemovedInMaking(t *testing.T) {
	s := newSite(t)
	maker, h := s.holding(false, http.MethodPost, "secrets")
	told := s.events()
	created := make(chan error, 1)
	go func() {
		_, err := maker.Create(t.Context(), secretive())
		created <- err
	}()
	<-h.asked
	if err := s.d.Remove(t.Context(), (<-told).Task); err != nil {
		t.Error(err)
	}
	close(h.released)
	if err := <-created; !errdefs.IsNotFound(err) {
		t.Errorf("Create: %v; want NotFound", err)
	}
	if left, err := s.Harness.Left(t.Context(), "survive"); err != nil || len(left) > 0 {
		t.Errorf("there is left: %v, %v", left, err)
	}
}

// events returns what the driver tells of, from when it listens, until the end of the test.
func (s *site) events() <-chan driver.Event {
	s.t.Helper()
	told := make(chan driver.Event, 100)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- driver.Events(ctx, s.d, driver.ListOptions{}, func(ev driver.Event) error {
			told <- ev
			return nil
		})
	}()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			s.t.Errorf("Events: %v", err)
		}
	})
	return told
}
