package watchdog

import (
	"context"
	"time"
)

// SetClock gives a watchdog another clock, and another way to wait by it.
func (w *Watchdog) SetClock(now func() time.Time, wait func(context.Context, time.Duration) bool) {
	w.now, w.wait = now, wait
}

// Round is one round.
func (w *Watchdog) Round(ctx context.Context) error { return w.round(ctx).err }
