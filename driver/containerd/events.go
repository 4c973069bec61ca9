//go:build linux

package containerd

import (
	"context"
	"time"

	"github.com/wharfci/wharf/driver"
)

// Events tells of tasks that change. See [driver.Eventer].
func (d *Driver) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	ctx, done := d.begin(ctx)
	defer done()
	return driver.Wrap(ctx, "events", "", classify(d.events(ctx, opts, f)))
}

// events looks at the tasks whenever the daemon tells of a change, and compares.
func (d *Driver) events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	var wake <-chan struct{}
	err := d.patiently(ctx, func() error {
		c, leave, err := d.hub.watch(ctx, "", false)
		if err == nil {
			wake = c
			context.AfterFunc(ctx, leave)
		}
		return err
	})
	if err != nil {
		return err
	}
	known := map[driver.TaskID]driver.Task{}
	for {
		var tasks []driver.Task
		err := d.patiently(ctx, func() (err error) { tasks, err = d.list(ctx, opts); return err })
		if err != nil {
			return err
		}
		if err := tell(known, tasks, f); err != nil {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell calls f for what differs from what is known.
func tell(known map[driver.TaskID]driver.Task, tasks []driver.Task, f func(driver.Event) error) error {
	now := map[driver.TaskID]bool{}
	for _, t := range tasks {
		now[t.ID] = true
		if old, ok := known[t.ID]; ok && old.State == t.State && old.Reason == t.Reason {
			continue
		}
		known[t.ID] = t
		if err := f(driver.Event{Task: t.ID, State: t.State, Reason: t.Reason, Time: time.Now().UTC()}); err != nil {
			return err
		}
	}
	for id := range known {
		if now[id] {
			continue
		}
		delete(known, id)
		if err := f(driver.Event{Task: id, State: driver.StateEnded, Removed: true, Time: time.Now().UTC()}); err != nil {
			return err
		}
	}
	return nil
}
