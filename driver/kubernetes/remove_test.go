package kubernetes_test

import (
	"net"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes"
)

// A task is removed while an image is pulled for it, which nobody waits for.
func TestRemovesInPull(t *testing.T) {
	for name, helper := range map[string]bool{"of the helper": true, "of the task": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			registry, asked := s.silent()
			spec := program("unit", "print", "ran")
			if !helper {
				spec.Container.Image, spec.Container.Pull = registry+"/task:1", driver.PullIfNotPresent
			}
			d := s.gate(func(cfg *kubernetes.Config) {
				if helper {
					cfg.HelperImage = registry + "/helper:1"
				}
			})
			id := s.created(d, spec)
			started := make(chan error, 1)
			go func() { started <- d.Start(t.Context(), id) }()
			<-asked
			s.removed(id)
			if err := <-started; !errdefs.IsNotFound(err) {
				t.Errorf("Start, of a task that is removed meanwhile: %v; want NotFound", err)
			}
		})
	}
}

// silent is the address of a registry that answers nobody until the end of the test, and tells when it is asked.
func (s *site) silent() (address string, asked <-chan struct{}) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	first, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var lines []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			if lines = append(lines, c); len(lines) == 1 {
				close(first)
			}
		}
		for _, c := range lines {
			c.Close()
		}
	}()
	s.t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String(), first
}

// removed removes a task, and fails the test if anything of it is left.
func (s *site) removed(id driver.TaskID) {
	s.t.Helper()
	if err := s.d.Remove(s.t.Context(), id); err != nil {
		s.t.Errorf("Remove: %v", err)
	}
	if left, err := s.Harness.Left(s.t.Context(), "survive"); err != nil || len(left) > 0 {
		s.t.Errorf("after Remove there is %v, %v", left, err)
	}
}
