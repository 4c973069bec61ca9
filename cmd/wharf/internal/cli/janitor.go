package cli

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker"
	"github.com/wharfci/wharf/worker/lease"
)

// sweepTime bounds how long a build's end waits for the janitor.
const sweepTime = 10 * time.Second

// janitor removes what dead builds have left, beside a build: it begins when the first step runs, so
// that it delays none of the build's beginning.
type janitor struct {
	driver driver.Driver
	tidy   func(context.Context) error

	stop    context.CancelFunc
	ctx     context.Context
	once    sync.Once
	done    chan struct{}
	removed []lease.Removed
	err     error
}

func newJanitor(d driver.Driver, tidy func(context.Context) error) *janitor {
	ctx, stop := context.WithCancel(context.Background())
	return &janitor{driver: d, tidy: tidy, ctx: ctx, stop: stop, done: make(chan struct{})}
}

// observe waits for the first step that runs.
func (j *janitor) observe(events []worker.Event) {
	for i := range events {
		if events[i].Kind == worker.KindStep && events[i].State == worker.Running {
			j.begin()
			return
		}
	}
}

func (j *janitor) begin() {
	j.once.Do(func() {
		go func() {
			defer close(j.done)
			ctx, cancel := context.WithTimeout(j.ctx, sweepTime)
			defer cancel()
			j.removed, j.err = lease.Collect(ctx, j.driver, lease.Options{})
			if err := j.tidy(ctx); j.err == nil {
				j.err = err
			}
		}()
	})
}

// finish waits until all is done and says what was removed. Trouble is mentioned only if the build itself had none with the runtime.
func (j *janitor) finish(state worker.State) {
	if state == worker.Cancelled || state == worker.Errored {
		j.stop()
		j.once.Do(func() { close(j.done) }) // someone waits, or it would fail too: the next run does it
	}
	j.begin()
	<-j.done
	j.stop()
	if n := len(j.removed); n > 0 {
		warn(os.Stderr, "removed %s that dead builds had left", plural(n, "object"))
	}
	if j.err != nil && state != worker.Errored && state != worker.Cancelled {
		warn(os.Stderr, "what dead builds have left could not be removed: %v", j.err)
	}
}
