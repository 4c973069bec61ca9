package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Docker's record does not tell of every kill for want of memory. When the kernel's notice comes after the end of the
// main process, which is common on a busy machine if a child was killed, Docker tells it as an event and does not note it.
// And the runtime begins to listen just after it has started the main process: of a program that uses up its memory at
// once nothing is told at all (https://github.com/containerd/containerd/issues/8180).

const (
	// noticeTime is how long to wait for a notice that comes after the end; it was seen 20 ms late with three busy
	// processes to a CPU.
	noticeTime = 500 * time.Millisecond
	// earlyEnd is how long after the recorded start, which is later than the beginning of the listening, an end may be
	// due to a kill before that.
	earlyEnd = time.Second
)

// starvation returns why a container that failed under a memory limit must be taken to be out of memory although the
// daemon's record does not say so, or nothing. It remembers the answer, since the daemon forgets its events.
func (d *Driver) starvation(ctx context.Context, e *exit) string {
	if e.InspectResponse == nil || e.HostConfig == nil || e.HostConfig.Memory == 0 || phaseOf(e.InspectResponse) != phaseExited {
		return ""
	}
	if e.State.OOMKilled || e.State.ExitCode == 0 || d.fed.Has(e.ID) {
		return ""
	}
	if !d.starved.Has(e.ID) {
		noticed := d.noticed(ctx, e)
		if ctx.Err() != nil {
			return ""
		}
		if !noticed {
			d.fed.Add(e.ID)
			return ""
		}
		d.starved.Add(e.ID)
	}
	return fmt.Sprintf("the kernel killed a process of it for want of memory; the limit is %d bytes", e.HostConfig.Memory)
}

// noticed waits for the notice, or until it cannot come any more.
func (d *Driver) noticed(ctx context.Context, e *exit) bool {
	ctx, cancel := context.WithTimeout(ctx, noticeTime)
	defer cancel()
	f := client.Filters{}.Add("container", e.ID).Add("event", string(events.ActionOOM), string(events.ActionKill))
	res := d.api.Events(ctx, client.EventsListOptions{Filters: f, Since: "1"})
	select {
	case m := <-res.Messages:
		return m.Action == events.ActionOOM // a kill means that somebody wanted the end
	case <-ctx.Done():
		// A kill that nobody asked Docker for.
		return e.State.ExitCode == 128+9 && timeOf(e.State.FinishedAt).Sub(timeOf(e.State.StartedAt)) <= earlyEnd
	case <-res.Err:
		return false
	}
}
