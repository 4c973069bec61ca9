package podman

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// awaitReady waits until a service is ready, it ends, or the time is up; a mark other than 0 says that the
// task has failed.
func (d *Driver) awaitReady(ctx context.Context, s listed, i int) (mark int, err error) {
	var ready driver.Ready
	if err := json.Unmarshal([]byte(s.Labels[labelReady]), &ready); err != nil {
		return 0, driver.WithClass(errdefs.ErrInternal, "the label %s of service %s cannot be read: %v", labelReady, s.ID, err)
	}
	if ready.TCP == 0 && ready.Exec == nil {
		return 0, nil
	}
	if ready.Timeout == 0 {
		ready.Timeout = time.Minute
	}
	checkCtx, cancel := context.WithTimeout(ctx, ready.Timeout)
	defer cancel()
	check := make(chan error, 1)
	ended := make(chan error, 1)
	go func() { check <- d.check(checkCtx, s.ID, ready) }()
	go func() {
		_, err := d.settle(checkCtx, s.ID)
		ended <- err
	}()
	var died bool
	select {
	case err = <-check:
		cancel()
		<-ended
	case endErr := <-ended:
		died = endErr == nil
		cancel()
		err = <-check
	}
	switch {
	case err == nil:
		return 0, nil
	case died:
		return markDied + i, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case checkCtx.Err() != nil:
		return markNotReady + i, nil
	}
	return 0, err
}

// check returns nil when the service is ready, and not before ctx ends if it is not.
func (d *Driver) check(ctx context.Context, id string, ready driver.Ready) error {
	if ready.TCP != 0 {
		return d.checkPort(ctx, id, ready)
	}
	// Only the service knows when it is ready; there is no event to wait for.
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		if res, err := d.exec(ctx, id, driver.ExecSpec{Args: ready.Exec}); err == nil && res.Succeeded() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-pause.C:
		}
	}
}

// checkPort runs the pause program in the container that holds the service's network namespace: it
// sees what listens on localhost only.
func (d *Driver) checkPort(ctx context.Context, id string, ready driver.Ready) error {
	c, err := d.inspect(ctx, id)
	if err != nil {
		return err
	}
	holder := holderOf(c)
	if holder == "" {
		return driver.WithClass(errdefs.ErrInternal, "service %s has no shared network namespace", id)
	}
	seconds := int(ready.Timeout/time.Second) + 1
	res, err := d.exec(ctx, holder, driver.ExecSpec{Args: []string{"/pause", strconv.Itoa(ready.TCP), strconv.Itoa(seconds)}})
	if err != nil {
		return err
	}
	if !res.Succeeded() {
		<-ctx.Done() // its own time was up a moment before
		return context.Cause(ctx)
	}
	return nil
}
