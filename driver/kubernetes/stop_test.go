package kubernetes_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/internal/survive"
	"github.com/wharfci/wharf/driver/kubernetes"
)

// gate returns a driver of the site's owner whose tasks wait behind a gate, with changes of its configuration.
func (s *site) gate(change func(*kubernetes.Config)) driver.Driver {
	s.t.Helper()
	cfg := s.Config
	cfg.Owner, cfg.Gate = "survive", true
	if change != nil {
		change(&cfg)
	}
	d, err := kubernetes.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { d.Close() })
	return d
}

// stopElsewhere stops a task, with a driver value that has seen nothing of it before and is closed then.
func (s *site) stopElsewhere(id driver.TaskID) {
	s.t.Helper()
	d := s.gate(nil)
	if err := d.Stop(s.t.Context(), id, driver.StopOptions{Grace: 30 * time.Second}); err != nil {
		s.t.Errorf("Stop: %v", err)
	}
	if err := d.Close(); err != nil {
		s.t.Error(err)
	}
}

// waiting waits for the end of a task, and says how it ended.
func (s *site) waiting(id driver.TaskID) <-chan driver.Result {
	ended := make(chan driver.Result, 1)
	go func() {
		res, err := s.d.Wait(s.t.Context(), id)
		if err != nil {
			s.t.Errorf("Wait, before Stop: %v", err)
		}
		ended <- res
	}()
	return ended
}

// wantStopped fails the test unless every driver value has it that the only task was stopped before its start.
func (s *site) wantStopped(d driver.Driver, id driver.TaskID) {
	s.t.Helper()
	list, err := d.List(s.t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != driver.StateEnded || list[0].Incomplete {
		s.t.Errorf("List: %+v, %v; want a task that has ended", list, err)
	}
	if res, err := d.Wait(s.t.Context(), id); err != nil || res.Outcome != driver.Stopped {
		s.t.Errorf("Wait: %v, %v; want Stopped", res, err)
	}
	if err := errors.Join(d.Start(s.t.Context(), id), d.Stop(s.t.Context(), id, driver.StopOptions{})); err != nil {
		s.t.Errorf("Start and Stop of a task that was stopped: %v", err)
	}
	log, err := d.Logs(s.t.Context(), id, driver.LogOptions{Follow: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	if e, err := log.Next(); !errors.Is(err, io.EOF) {
		s.t.Errorf("the log has %q, %v; want nothing", e.Line, err)
	}
}

// A task whose pod never came to run has ended when it is stopped, for everybody, also when who stopped it is no more.
func TestStopsBeforeKeeper(t *testing.T) {
	for name, prepare := range map[string]func(*site) driver.TaskID{
		"behind its gate": func(s *site) driver.TaskID { return s.created(s.gate(nil), program("unit", "print", "ran")) },
		"of a maker that was killed": func(s *site) driver.TaskID {
			s.killHalfway("survive")
			list, err := s.d.List(s.t.Context(), driver.ListOptions{})
			if err != nil || len(list) != 1 || !list[0].Incomplete {
				s.t.Fatalf("List: %+v, %v; want a task that is not complete", list, err)
			}
			return list[0].ID
		},
		"without the helper's image": func(s *site) driver.TaskID {
			d := s.gate(func(cfg *kubernetes.Config) { cfg.HelperImage = drivertest.Image + "-missing" })
			id := s.created(d, program("unit", "print", "ran"))
			if err := d.Start(s.t.Context(), id); err == nil {
				s.t.Error("Start without the helper's image succeeds")
			}
			return id
		},
		"while the helper's image is pulled": func(s *site) driver.TaskID {
			registry, asked := s.silent()
			d := s.gate(func(cfg *kubernetes.Config) { cfg.HelperImage = registry + "/helper:1" })
			id := s.created(d, program("unit", "print", "ran"))
			started := make(chan error, 1)
			go func() { started <- d.Start(s.t.Context(), id) }()
			s.t.Cleanup(func() {
				if err := <-started; err != nil {
					s.t.Errorf("Start, of a task that is stopped meanwhile: %v", err)
				}
			})
			<-asked
			return id
		},
		"without its image": func(s *site) driver.TaskID {
			spec := program("unit", "print", "ran")
			spec.Container.Image += "-missing"
			d := s.gate(nil)
			id := s.created(d, spec)
			if err := d.Start(s.t.Context(), id); err == nil {
				s.t.Error("Start without the image succeeds")
			}
			return id
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			id := prepare(s)
			told := s.events()
			ended := s.waiting(id)
			s.stopElsewhere(id)
			if res := <-ended; res.Outcome != driver.Stopped {
				t.Errorf("Wait, before Stop: %v; want Stopped", res)
			}
			next(told, driver.StateEnded)
			s.wantStopped(s.d, id)
			s.wantStopped(s.open(0), id)
			s.removed(id)
		})
	}
}

// A task that was stopped while no node took its pod stays so when one takes it; the pod does not hold that for long.
func TestStopsUnscheduled(t *testing.T) {
	s := newSite(t)
	s.cordon(true)
	defer s.cordon(false)
	d := s.gate(nil)
	id := s.created(d, program("unit", "print", "ran"))
	started := make(chan error, 1)
	go func() { started <- d.Start(t.Context(), id) }()
	s.untilUnschedulable()
	ended := s.waiting(id)
	s.stopElsewhere(id)
	if err := <-started; err != nil {
		t.Errorf("Start, of a task that is stopped meanwhile: %v", err)
	}
	if res := <-ended; res.Outcome != driver.Stopped {
		t.Errorf("Wait, before Stop: %v; want Stopped", res)
	}
	s.wantStopped(s.open(0), id)
	s.cordon(false)
	changes, err := s.admin.CoreV1().Pods(namespace).Watch(t.Context(), meta.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	for ev := range changes.ResultChan() {
		if p, ok := ev.Object.(*core.Pod); ok && p.Status.Phase == core.PodFailed {
			break
		}
	}
	s.wantStopped(d, id)
	s.wantStopped(s.open(0), id)
	s.removed(id)
}

// A task is stopped by someone else before its Create is through: that returns a task that has ended.
func TestStopsInCreate(t *testing.T) {
	for name, secret := range map[string]bool{"while its Secret is made": true, "while no node takes its pod": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			maker, h := s.holding(false, http.MethodPost, "secrets")
			told := s.events()
			spec := program("unit", "print", "ran")
			if secret {
				spec = secretive()
			} else {
				s.cordon(true)
				defer s.cordon(false)
			}
			created := make(chan error, 1)
			go func() {
				_, err := maker.Create(t.Context(), spec)
				created <- err
			}()
			id := (<-told).Task
			if secret {
				<-h.asked
			}
			s.stopElsewhere(id)
			close(h.released)
			if err := <-created; err != nil {
				t.Errorf("Create, of a task that is stopped meanwhile: %v", err)
			}
			s.wantStopped(s.d, id)
			s.removed(id)
		})
	}
}

// Stop comes first, while Start is about to lift the gate: the gate stays, and nothing starts.
func TestStopComesBeforeStart(t *testing.T) {
	s := newSite(t)
	d, h := s.holding(true, http.MethodPatch, "pods")
	id := s.created(d, program("unit", "print", "ran"))
	started := make(chan error, 1)
	go func() { started <- d.Start(t.Context(), id) }()
	<-h.asked
	s.stopElsewhere(id)
	close(h.released)
	if err := <-started; err != nil {
		t.Errorf("Start: %v", err)
	}
	p, err := s.admin.CoreV1().Pods(namespace).Get(t.Context(), podOf(id), meta.GetOptions{})
	if err != nil || len(p.Spec.SchedulingGates) != 1 {
		t.Errorf("the pod has the gates %v, %v; want one", p.Spec.SchedulingGates, err)
	}
	s.wantStopped(d, id)
	s.removed(id)
}

// Start comes first, while Stop is about to record that there was none: what was started is ended as any task that runs.
func TestStartComesBeforeStop(t *testing.T) {
	s := newSite(t)
	d, h := s.holding(true, http.MethodPatch, "pods")
	id := s.created(d, program("unit", survive.Waits...))
	stopped := make(chan error, 1)
	go func() { stopped <- d.Stop(context.Background(), id, driver.StopOptions{}) }()
	<-h.asked
	if err := s.d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(h.released)
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
	for _, d := range []driver.Driver{d, s.open(0)} {
		if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Signaled {
			t.Errorf("Wait: %v, %v; want that it was killed", res, err)
		}
	}
	s.removed(id)
}

func (s *site) created(d driver.Driver, spec driver.TaskSpec) driver.TaskID {
	s.t.Helper()
	id, err := d.Create(s.t.Context(), spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}
