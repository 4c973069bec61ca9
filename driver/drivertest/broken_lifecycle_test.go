package drivertest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/drivertest"
)

func brokenLifecycle() map[string]breakage {
	return map[string]breakage{
		"name-in-use":          otherName,
		"name-at-once":         otherName,
		"name-again":           oldHandle,
		"start-twice":          startOnce,
		"start-unknown":        startError(errdefs.ErrNotFound, nil),
		"remove-twice":         removeOnce,
		"remove-concurrently":  removeOnce,
		"remove-never-started": removeOnly(driver.StateCreated, false),
		"remove-running":       removeOnly(driver.StateRunning, true),
		"stop-obeyed":          stopOptions(func(o *driver.StopOptions) { o.Grace = 0 }),
		"stop-ignored":         stopOptions(func(o *driver.StopOptions) { o.Grace = 0 }),
		"stop-at-once":         slowStop,
		"stop-ended":           stopNeeds(driver.StateEnded),
		"stop-never-started":   outcome(driver.Exited, 0, 0),
		"stop-output":          dropEntry(500),
		"second-value":         ownTasksOnly,
		"start-in-making":      spec(func(s *driver.TaskSpec) { s.Secrets = nil }),
		"second-process":       ownTasksOnly,
		"ended-unobserved":     ownResultsOnly,
		"labels":               listOptions(func(o *driver.ListOptions) { delete(o.Labels, "step") }),
		"labels-long":          spec(shortLabels),
		"list-order":           listed(func(t []driver.Task) { slices.Reverse(t) }),
		"list-states": listed(func(t []driver.Task) {
			for i := range t {
				t[i].State = driver.StateUnknown
			}
		}),
		"owners":                     hurried(oneOwner),
		"close":                      closeOnce,
		"line-cut":                   cutIsEmpty,
		"ten-at-once":                seventhFails,
		"create-bad-name":            spec(func(s *driver.TaskSpec) { s.Name = "mended" }),
		"create-bad-image":           createError(errdefs.ErrInvalidArgument, errdefs.ErrNotFound),
		"create-missing-image":       leavesVolume,
		"create-missing-in-registry": createError(errdefs.ErrNotFound, errdefs.ErrUnavailable),
		"create-missing-volume":      mainContainer(func(c *driver.Container) { c.Mounts = nil }),
		"create-bad-field":           mainContainer(func(c *driver.Container) { c.Security.Privileged = false }),
		"create-cancelled": with(func(h *hooks) {
			h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
				return d.Create(context.WithoutCancel(ctx), s)
			}
		}),
		"create-cancelled-in-pull": leavesVolume,
	}
}

// otherName makes a task under another name when the name is in use.
func otherName(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			if errors.Is(err, errdefs.ErrAlreadyExists) {
				s.Name = "other"
				return d.Create(ctx, s)
			}
			return id, err
		}
	})(h)
}

// oldHandle gives a new task the handle that its name had before.
func oldHandle(h *drivertest.Harness) {
	with(func(h *hooks) {
		old := map[string]driver.TaskID{}
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			if first, ok := old[s.Name]; ok {
				return first, err
			}
			old[s.Name] = id
			return id, err
		}
	})(h)
}

func startOnce(h *drivertest.Harness) {
	with(func(h *hooks) {
		var calls counter
		h.start = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
			if calls.next() > 1 {
				return errors.New("already started")
			}
			return d.Start(ctx, id)
		}
	})(h)
}

// startError returns another error in place of those of a class.
func startError(class, other error) breakage {
	return with(func(h *hooks) {
		h.start = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
			err := d.Start(ctx, id)
			if errors.Is(err, class) {
				return other
			}
			return err
		}
	})
}

// removeOnce fails for a task that is gone.
func removeOnce(h *drivertest.Harness) {
	var mu sync.Mutex
	removed := map[driver.TaskID]bool{}
	with(func(h *hooks) {
		h.remove = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
			mu.Lock()
			defer mu.Unlock()
			if removed[id] {
				return errors.New("removal is already in progress")
			}
			removed[id] = true
			return d.Remove(ctx, id)
		}
	})(h)
}

func stateOf(ctx context.Context, d driver.Driver, id driver.TaskID) driver.State {
	tasks, _ := d.List(ctx, driver.ListOptions{})
	for _, t := range tasks {
		if t.ID == id {
			return t.State
		}
	}
	return driver.StateUnknown
}

// removeOnly does nothing, or fails, for tasks in a state.
func removeOnly(s driver.State, fails bool) breakage {
	return with(func(h *hooks) {
		h.remove = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
			if stateOf(ctx, d, id) != s {
				return d.Remove(ctx, id)
			}
			if fails {
				return errors.New("cannot remove a task that is " + s.String())
			}
			return nil
		}
	})
}

func stopOptions(change func(*driver.StopOptions)) breakage {
	return with(func(h *hooks) {
		h.stop = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.StopOptions) error {
			change(&opts)
			return d.Stop(ctx, id, opts)
		}
	})
}

func slowStop(h *drivertest.Harness) {
	stopOptions(func(o *driver.StopOptions) { o.Grace = 200 * time.Millisecond })(h)
	h.StopMargin = 100 * time.Millisecond
}

func stopNeeds(s driver.State) breakage {
	return with(func(h *hooks) {
		h.stop = func(ctx context.Context, d driver.Driver, id driver.TaskID, opts driver.StopOptions) error {
			if stateOf(ctx, d, id) == s {
				return errors.New("the task is " + s.String())
			}
			return d.Stop(ctx, id, opts)
		}
	})
}

// ownTasksOnly keeps what exists in the driver value.
func ownTasksOnly(h *drivertest.Harness) {
	with(func(h *hooks) {
		var mu sync.Mutex
		mine := map[driver.TaskID]bool{}
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			mine[id] = true
			return id, err
		}
		h.list = func(ctx context.Context, d driver.Driver, opts driver.ListOptions) ([]driver.Task, error) {
			tasks, err := d.List(ctx, opts)
			mu.Lock()
			defer mu.Unlock()
			return slices.DeleteFunc(tasks, func(t driver.Task) bool { return !mine[t.ID] }), err
		}
	})(h)
}

// ownResultsOnly knows the end of tasks that the driver value itself has started.
func ownResultsOnly(h *drivertest.Harness) {
	with(func(h *hooks) {
		var mu sync.Mutex
		mine := map[driver.TaskID]bool{}
		h.start = func(ctx context.Context, d driver.Driver, id driver.TaskID) error {
			mu.Lock()
			defer mu.Unlock()
			mine[id] = true
			return d.Start(ctx, id)
		}
		h.wait = func(ctx context.Context, d driver.Driver, id driver.TaskID) (driver.Result, error) {
			res, err := d.Wait(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if !mine[id] {
				res = driver.Result{}
			}
			return res, err
		}
	})(h)
}

func listOptions(change func(*driver.ListOptions)) breakage {
	return with(func(h *hooks) {
		h.list = func(ctx context.Context, d driver.Driver, opts driver.ListOptions) ([]driver.Task, error) {
			opts.Labels = maps.Clone(opts.Labels)
			change(&opts)
			return d.List(ctx, opts)
		}
	})
}

func listed(change func([]driver.Task)) breakage {
	return with(func(h *hooks) {
		h.list = func(ctx context.Context, d driver.Driver, opts driver.ListOptions) ([]driver.Task, error) {
			tasks, err := d.List(ctx, opts)
			change(tasks)
			return tasks, err
		}
	})
}

// shortLabels cuts values at 63 bytes.
func shortLabels(s *driver.TaskSpec) {
	s.Labels = maps.Clone(s.Labels)
	for k, v := range s.Labels {
		s.Labels[k] = v[:min(len(v), 63)]
	}
}

// oneOwner mixes everybody's tasks and volumes.
func oneOwner(h *drivertest.Harness) {
	open := h.Open
	h.Open = func(ctx context.Context, _ string) (driver.Driver, error) { return open(ctx, "everybody") }
}

func closeOnce(h *drivertest.Harness) {
	with(func(h *hooks) {
		var calls counter
		h.close = func(d driver.Driver) error {
			if calls.next() > 1 {
				return errors.New("closed already")
			}
			return d.Close()
		}
	})(h)
}

// cutIsEmpty lists nothing when the runtime does not answer.
func cutIsEmpty(h *drivertest.Harness) {
	cuttable(h, func(b *hooks, cut <-chan struct{}) {
		b.list = func(ctx context.Context, d driver.Driver, opts driver.ListOptions) ([]driver.Task, error) {
			select {
			case <-cut:
				return nil, nil
			default:
				return d.List(ctx, opts)
			}
		}
	})
}

func seventhFails(h *drivertest.Harness) {
	with(func(h *hooks) {
		var calls counter
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			if calls.next() == 7 {
				return "", errdefs.ErrUnavailable
			}
			return d.Create(ctx, s)
		}
	})(h)
}

// createError returns another error in place of those of a class.
func createError(class, other error) breakage {
	return with(func(h *hooks) {
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			if errors.Is(err, class) {
				err = driver.Wrap(ctx, "create", s.Name, other)
			}
			return id, err
		}
	})
}

// leavesVolume leaves something behind when Create fails.
func leavesVolume(h *drivertest.Harness) {
	with(func(h *hooks) {
		h.create = func(ctx context.Context, d driver.Driver, s driver.TaskSpec) (driver.TaskID, error) {
			id, err := d.Create(ctx, s)
			if err != nil {
				d.CreateVolume(context.WithoutCancel(ctx), driver.VolumeSpec{Name: s.Name})
			}
			return id, err
		}
	})(h)
}
