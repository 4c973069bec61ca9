package docker

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// A mark says, in the restart policy of a main container that will never run, why not.
// The policy "on-failure" does nothing to a container that has not failed, and its
// maximum count is a number of our own.
const (
	markStopped   = 1    // Stop was called before the start
	markRefused   = 2    // labelRefused says why
	markUnwritten = 3    // a secret's file could not be made
	markInit      = 1000 // and the number of the init container that failed
	markDied      = 2000 // and the number of the service that died
	markNotReady  = 3000 // and the number of the service that was not ready in time
)

func markOf(c *container.InspectResponse) int {
	if c.HostConfig == nil || c.HostConfig.RestartPolicy.Name != container.RestartPolicyOnFailure {
		return 0
	}
	return c.HostConfig.RestartPolicy.MaximumRetryCount
}

// setMark notes why a container will not run, and wakes whoever waits for it, in any process.
func (d *Driver) setMark(ctx context.Context, id string, mark int) error {
	_, err := d.api.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{
		RestartPolicy: &container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: mark},
	})
	d.hub.poke(id, false)
	return err
}

// announce wakes whoever waits for a container, in any process: the daemon tells nobody of a start that failed, but
// of every update, also of one that changes nothing.
func (d *Driver) announce(ctx context.Context, id string) {
	d.hub.poke(id, false)
	_, _ = d.api.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{}) // who waits in this process knows
}

// phase is where one container stands.
type phase uint8

const (
	phaseCreated phase = iota // may still be started
	phaseRunning              // paused and restarting included
	phaseExited               // has run
	phaseFailed               // could not be started
	phaseMarked               // will not be started
	phaseGoing                // is being removed
)

func phaseOf(c *container.InspectResponse) phase {
	s := c.State
	switch {
	case s == nil || s.Status == container.StateRemoving || s.Dead:
		return phaseGoing
	case s.Running || s.Paused || s.Restarting:
		return phaseRunning
	case !timeOf(s.StartedAt).IsZero():
		return phaseExited
	case s.Error != "" && !strings.Contains(s.Error, "context canceled") && !noOwnNetwork.MatchString(s.Error):
		// A start that a current daemon gave up, because the connection of its caller broke, may be done again, and one on a network that has just gone is.
		return phaseFailed
	case markOf(c) != 0:
		return phaseMarked
	}
	return phaseCreated
}

// timeOf reads a time of the daemon; the zero time stands for none.
func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}

// inspect returns a container of the owner, or NotFound.
func (d *Driver) inspect(ctx context.Context, id string) (*container.InspectResponse, error) {
	res, err := d.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, err
	}
	if res.Container.Config == nil || res.Container.Config.Labels[labelOwner] != d.owner {
		return nil, driver.WithClass(errdefs.ErrNotFound, "the owner has no container %s", id)
	}
	return &res.Container, nil
}

// patiently calls f until it succeeds or fails for another reason than that the daemon does not
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

// exit is what is known of the end of a container.
type exit struct {
	*container.InspectResponse      // nil if it is gone
	seen                       bool // the daemon told its exit code while we waited
	code                       int64
	down                       bool   // the daemon was going down then
	cut                        bool   // the connection broke before all was known
	doubt                      string // why the daemon may have ended it, see endedBy
	starved                    string // why it ended for want of memory though the record does not say so, see starvation
}

// settle waits until a container will not run any more, and returns what the daemon has on record.
// It returns NotFound only for a container that was gone before the call.
func (d *Driver) settle(ctx context.Context, id string) (exit, error) {
	var e exit
	known := false
	for {
		err := d.patiently(ctx, func() (err error) {
			e.InspectResponse, err = d.inspect(ctx, id)
			e.cut = e.cut || known && err != nil && unreachable(err)
			return err
		})
		if errdefs.IsNotFound(err) && known {
			e.InspectResponse = nil
			return e, nil
		}
		if err != nil {
			return e, err
		}
		known = true
		switch phaseOf(e.InspectResponse) {
		case phaseCreated:
			err = d.hub.await(ctx, id, func() bool {
				c, err := d.inspect(ctx, id)
				return err != nil || phaseOf(c) != phaseCreated
			})
		case phaseRunning:
			e.cut, e.down = false, false
			err = d.awaitExit(ctx, id, &e)
		default:
			e.doubt, e.starved = d.endedBy(ctx, &e), d.starvation(ctx, &e)
			d.ended.Add(id)
			return e, context.Cause(ctx)
		}
		if err != nil {
			return e, err
		}
	}
}

// awaitExit waits until a container that was running has exited. A broken connection
// ends the waiting without an error: the caller looks again.
func (d *Driver) awaitExit(ctx context.Context, id string, e *exit) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := d.api.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case r := <-res.Result:
		if r.Error == nil {
			e.seen, e.code = true, r.StatusCode
			e.down = !d.listening(ctx)
		}
		return nil
	case err := <-res.Error:
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case unreachable(err) || strings.Contains(err.Error(), "unexpected end of JSON input"):
			e.cut = true
			return nil
		}
		return err
	}
}
