package provisioner_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
	"github.com/wharfci/wharf/provisioner"
)

// TestStartFindsNothing: that a start finds something missing, such as an image, does not make a worker forgotten that the runtime lists.
func TestStartFindsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver.(*fake.Driver).Inject(fake.Fault{Op: "start", Times: 1, Err: driver.WithClass(errdefs.ErrNotFound, "no such image")})
		})
		w := until(t, p, ask(t, p, trigger(1)).ID, provisioner.Failed)
		if !strings.Contains(w.Reason, "does not find it") {
			t.Errorf("the worker has failed for %q", w.Reason)
		}
	})
}

// TestLogFindsNothing: a log that cannot be found for a moment, as when one of a task's containers is gone, does not have a worker removed that runs.
func TestLogFindsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver.(*fake.Driver).Inject(fake.Fault{Op: "logs", Times: 1, Err: driver.WithClass(errdefs.ErrNotFound, "no such container")})
		})
		until(t, p, ask(t, p, trigger(1)).ID, provisioner.Succeeded)
	})
}

// TestAskedWhileDeleted: a build that is asked for while its worker is being deleted is to be asked for again, and is not answered with the one that goes.
func TestAskedWhileDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		hold := make(chan struct{})
		p := y.open(t, func(c *provisioner.Config) {
			c.Driver.(*fake.Driver).Inject(fake.Fault{Op: "remove", Times: 1, Delay: hold})
		})
		id := ask(t, p, trigger(1)).ID
		until(t, p, id, provisioner.Succeeded)
		deleted := make(chan error, 1)
		go func() { deleted <- p.Delete(t.Context(), id) }()
		synctest.Wait()
		if _, _, err := p.Trigger(t.Context(), trigger(1)); !errdefs.IsUnavailable(err) {
			t.Errorf("asked for while it is being deleted: %v; want Unavailable", err)
		}
		close(hold)
		if err := errors.Join(<-deleted); err != nil {
			t.Fatal(err)
		}
		if _, made, err := p.Trigger(t.Context(), trigger(1)); err != nil || !made {
			t.Errorf("asked for again: made %v, %v", made, err)
		}
	})
}
