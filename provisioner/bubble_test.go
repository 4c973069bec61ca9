package provisioner_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wharfci/wharf/driver"
)

// bubble runs a test whose clock goes on by itself when nothing else happens.
func bubble(t *testing.T, f func(*testing.T, *yard)) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard()
		t.Cleanup(y.clear)
		f(t, y)
	})
}

// clear ends what still runs.
func (y *yard) clear() {
	for _, owner := range []string{"workers", "builds"} {
		d := y.Open(owner)
		tasks, err := d.List(context.Background(), driver.ListOptions{})
		for _, task := range tasks {
			err = y.Remove(task.ID)
		}
		if err != nil {
			panic(err)
		}
		d.Close()
	}
	synctest.Wait()
}

// later wants nothing to be left when there was time to look for orphans.
func (y *yard) later(t *testing.T) {
	t.Helper()
	time.Sleep(30 * time.Minute)
	synctest.Wait()
	y.empty(t)
}
