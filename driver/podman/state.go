package podman

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// phase is where one container stands.
type phase uint8

const (
	phaseCreated phase = iota // may still be started
	phaseRunning              // paused and stopping included
	phaseExited               // has run
	phaseFailed               // could not be started
	phaseMarked               // will not be started
	phaseGoing                // is being removed
)

func phaseOf(c *inspected) phase {
	s := c.State
	switch {
	case s == nil || s.Status == stateRemoving:
		return phaseGoing
	case c.bereft:
		return phaseExited
	case s.Status == stateRunning || s.Status == statePaused || s.Status == stateStopping:
		return phaseRunning
	case !timeOf(s.StartedAt).IsZero():
		return phaseExited
	case c.mark == markFailed || c.mark == markSandbox:
		return phaseFailed
	case c.mark != 0:
		return phaseMarked
	case s.Status == stateExited || s.Status == stateStopped:
		return phaseFailed
	}
	return phaseCreated
}

// timeOf returns the zero time for what stands for none.
func timeOf(t time.Time) time.Time {
	if t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}

// look returns a container of the owner as the service describes it, or NotFound.
func (d *Driver) look(ctx context.Context, id string) (*inspected, error) {
	var c inspected
	err := d.api.call(ctx, "GET", "/containers/"+id+"/json", nil, nil, &c)
	for range 5 {
		if err == nil || !answered(err) || !strings.Contains(err.Error(), "/proc/") {
			break
		}
		// The process ended while the service looked at it: the next look finds it ended.
		err = d.api.call(ctx, "GET", "/containers/"+id+"/json", nil, nil, &c)
	}
	if err != nil {
		return nil, err
	}
	if c.Config == nil || c.Config.Labels[labelOwner] != d.owner {
		return nil, driver.WithClass(errdefs.ErrNotFound, "the owner has no container %s", id)
	}
	c.bereft = d.bereft.Has(c.ID)
	return &c, nil
}

// inspect returns a container with its mark, if it has not run.
func (d *Driver) inspect(ctx context.Context, id string) (*inspected, error) {
	c, err := d.look(ctx, id)
	if err != nil {
		return nil, err
	}
	if p := phaseOf(c); p == phaseCreated || p == phaseFailed {
		err = d.readMark(ctx, c)
	}
	return c, err
}

// patiently calls f until it succeeds or fails for another reason than that the service does not
// answer, for as long as the driver's patience lasts.
func (d *Driver) patiently(ctx context.Context, f func() error) error {
	var deadline time.Time
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := f()
		if err == nil || !unreachable(err) || ctx.Err() != nil {
			return err
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(d.patience)
		}
		if time.Now().After(deadline) {
			return err
		}
		retry := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			retry.Stop()
			return context.Cause(ctx)
		case <-retry.C:
		}
	}
}

// exit is what is known of the end of a container; nil if it is gone.
type exit struct {
	*inspected
	starved bool // see starvation
}

// settle waits until a container will not run any more, and returns what the service has on record.
// It returns NotFound only for a container that was gone before the call.
func (d *Driver) settle(ctx context.Context, id string) (exit, error) {
	known, watched := false, false
	for {
		var c *inspected
		err := d.patiently(ctx, func() (err error) {
			c, err = d.inspect(ctx, id)
			return err
		})
		if errdefs.IsNotFound(err) && known {
			return exit{}, nil
		}
		if err != nil {
			return exit{}, err
		}
		known = true
		switch phaseOf(c) {
		case phaseCreated:
			err = d.hub.await(ctx, id, func() bool {
				c, err := d.inspect(ctx, id)
				return err != nil || phaseOf(c) != phaseCreated
			})
		case phaseRunning:
			if !watched {
				watched = true
				_, leave := d.guards.watch(id)
				defer leave()
			}
			err = d.awaitExit(ctx, id)
		default:
			if again, err := d.perhapsRemoved(ctx, c); again || err != nil {
				if err != nil {
					return exit{}, err
				}
				continue
			}
			d.ended.Add(id)
			return exit{c, d.starvation(ctx, c)}, context.Cause(ctx)
		}
		if err != nil {
			return exit{}, err
		}
	}
}

const (
	// cleanupWait is how long a container that has ended may take to be cleaned up, by a process of its own.
	cleanupWait = 5 * time.Second
	// removalTime is how long after a KILL that is not ours the container may still be removed.
	removalTime = time.Second
)

// perhapsRemoved tells a container that someone killed from one that someone removes, which begins with a KILL: only when it
// has been cleaned up, and then stays for a moment, was it killed and no more. It reports whether to look again.
func (d *Driver) perhapsRemoved(ctx context.Context, c *inspected) (again bool, err error) {
	if phaseOf(c) != phaseExited || c.State.ExitCode <= 128 {
		return false, nil
	}
	if c.State.Status == stateStopped {
		return d.changes(ctx, c.ID, cleanupWait, func(now *inspected) bool { return now.State.Status != stateStopped })
	}
	left := removalTime - time.Since(c.State.FinishedAt)
	if c.State.ExitCode != 128+9 || left <= 0 || left > removalTime || d.kills.Has(c.ID) {
		return false, nil
	}
	if asked, err := d.asked(ctx, c.ID, actionKill); err == nil && asked { // a removal kills without that event
		return false, nil
	}
	return d.changes(ctx, c.ID, left, func(now *inspected) bool { return phaseOf(now) != phaseExited })
}

// tidied returns when Podman is not about to clean up after the container, which would take the files away that someone works on.
func (d *Driver) tidied(ctx context.Context, id string) (*inspected, error) {
	timed, cancel := context.WithTimeout(ctx, cleanupWait)
	defer cancel()
	for {
		c, err := d.look(ctx, id)
		if err != nil || c.State == nil || c.State.Status != stateStopped || timed.Err() != nil {
			return c, err
		}
		// An event that is late may be of something else: look again.
		if _, err := d.changes(timed, id, cleanupWait, func(now *inspected) bool { return now.State.Status != stateStopped }); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
}

// changes waits, for a time, until a container is gone or as f says, and reports whether it is.
func (d *Driver) changes(ctx context.Context, id string, within time.Duration, f func(*inspected) bool) (bool, error) {
	timed, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := d.hub.await(timed, id, func() bool {
		now, err := d.look(timed, id)
		return err != nil || f(now)
	})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil, nil
}

// awaitExit waits until a container that was running may have exited; the caller looks.
func (d *Driver) awaitExit(ctx context.Context, id string) error {
	err := d.hub.await(ctx, id, func() bool {
		c, err := d.look(ctx, id)
		return err != nil || phaseOf(c) != phaseRunning
	})
	if err != nil && ctx.Err() == nil {
		return nil
	}
	return err
}
