package aggregator_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wharfci/wharf/aggregator"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi"
	"github.com/wharfci/wharf/aggregator/sink/wharfapi/wharfapitest"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/journal"
)

// busy is a driver whose runtime takes its time to connect to a task, and to some never does.
type busy struct {
	driver.Driver
	dead      map[driver.TaskID]bool
	now, most atomic.Int64 // connections to others that are being made
}

func (b *busy) Events(ctx context.Context, opts driver.ListOptions, f func(driver.Event) error) error {
	return driver.Events(ctx, b.Driver, opts, f)
}

func (b *busy) Dial(ctx context.Context, id driver.TaskID, port int) (net.Conn, error) {
	if b.dead[id] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n := b.now.Add(1)
	defer b.now.Add(-1)
	for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
	}
	time.Sleep(100 * time.Millisecond)
	return driver.Dial(ctx, b.Driver, id, port)
}

// Of many workers that there are at once a few are connected to at a time, and those that cannot be reached do not keep the others.
func TestDialsAtOnce(t *testing.T) {
	w := newWorld(t, wharfapitest.Options{})
	runtime := &busy{dead: map[driver.TaskID]bool{}}
	var dead, all []*fakeWorker
	for build := uint64(1); build <= 40; build++ {
		f := w.add(build).start()
		if build <= 10 {
			runtime.dead[f.task] = true
			dead = append(dead, f)
			continue
		}
		f.many(10)
		f.end(journal.Succeeded, "")
		all = append(all, f)
	}
	w.aggregator("one", func(cfg *aggregator.Config, _ *wharfapi.Options) {
		runtime.Driver = cfg.Driver
		cfg.Driver = runtime
	})
	for _, f := range all {
		f.ended("Completed")
	}
	if most := runtime.most.Load(); most > 8 {
		t.Errorf("%d connections were made at once", most)
	}
	for _, f := range dead {
		f.kill()
	}
}
