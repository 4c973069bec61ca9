package kubernetes_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
	"github.com/wharfci/wharf/driver/internal/survive"
)

// A task behind a gate is starting from when Start lifts that, also while no node takes its pod and while its images are pulled.
func TestStartsBehindGate(t *testing.T) {
	s := newSite(t)
	d := s.gate(nil)
	told := s.events()
	s.cordon(true)
	defer s.cordon(false)
	id, err := d.Create(t.Context(), program("gated", "exit", "3"))
	if err != nil {
		t.Fatal(err)
	}
	s.wantState(driver.StateCreated)
	if ev := <-told; ev.State != driver.StateCreated {
		t.Errorf("the event after Create: %+v", ev)
	}

	s.wantSilence(id)
	ctx, giveUp := context.WithCancel(t.Context())
	started := make(chan error, 1)
	go func() { started <- d.Start(ctx, id) }()
	ev := next(told, driver.StateStarting)
	for !strings.Contains(ev.Reason, "Unschedulable") {
		if ev.State != driver.StateStarting || strings.Contains(ev.Reason, "gate") {
			t.Fatalf("while no node takes the pod: %+v; want that it is starting, and why it does not", ev)
		}
		ev = <-told
	}
	s.wantState(driver.StateStarting)
	s.wantSilence(id)
	giveUp()
	if err := <-started; !errors.Is(err, context.Canceled) {
		t.Errorf("Start, given up: %v", err)
	}
	s.cordon(false)
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for ev.State != driver.StateEnded {
		was := ev.State
		if ev = <-told; ev.State < was {
			t.Errorf("after %s comes %+v", was, ev)
		}
	}
	if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Exited || res.Code != 3 {
		t.Errorf("Wait: %v, %v; want code 3", res, err)
	}
}

// Who listens only when a task has been started is told of nothing that it has left behind.
func TestStartsBeforeListener(t *testing.T) {
	s := newSite(t)
	d := s.gate(nil)
	id, err := d.Create(t.Context(), program("gated", survive.Waits...))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for ev := range s.events() {
		if ev.State < driver.StateStarting {
			t.Errorf("of a task that was started: %+v", ev)
		}
		if ev.State == driver.StateRunning {
			return
		}
	}
}

// An image that is not there shows in the reason of a task that is starting.
func TestStartsWithoutImage(t *testing.T) {
	s := newSite(t)
	d := s.gate(nil)
	spec := program("gated", "exit", "0")
	spec.Container.Image = drivertest.Image + "-missing"
	id, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	told := s.events()
	if err := d.Start(t.Context(), id); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("Start without the image: %v", err)
	}
	list, err := s.d.List(t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != driver.StateStarting || !strings.Contains(list[0].Reason, "missing") {
		t.Errorf("List: %+v, %v; want that it is starting, and what is missing", list, err)
	}
	for ev := range told {
		if ev.State == driver.StateStarting && strings.Contains(ev.Reason, "missing") {
			return
		}
	}
}

// next returns the first event of a state.
func next(told <-chan driver.Event, state driver.State) driver.Event {
	for ev := range told {
		if ev.State == state {
			return ev
		}
	}
	return driver.Event{}
}

// wantSilence fails the test if a task whose pod has no node has printed something, or what it has printed cannot be read at once.
func (s *site) wantSilence(id driver.TaskID) {
	s.t.Helper()
	r, err := s.d.Logs(s.t.Context(), id, driver.LogOptions{})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer r.Close()
	if e, err := r.Next(); err != io.EOF {
		s.t.Errorf("the log of a task without a node: %+v, %v; want its end", e, err)
	}
}

// wantState fails the test if the only task is in another state.
func (s *site) wantState(want driver.State) {
	s.t.Helper()
	list, err := s.d.List(s.t.Context(), driver.ListOptions{})
	if err != nil || len(list) != 1 || list[0].State != want || list[0].Incomplete {
		s.t.Errorf("List: %+v, %v; want a task that is %s", list, err, want)
	}
}
