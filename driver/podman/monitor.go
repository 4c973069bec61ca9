package podman

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Conmon, a process for each container, keeps its output and notes its end. If that process is killed, or crashes, which was seen where
// connections broke while it wrote, the service calls the container running for ever, and tells nobody of anything. Only who waits at the service
// gets an answer, after twenty seconds: so the driver waits there too, once for each container that someone waits for or reads.
type monitors struct {
	d     *Driver
	after time.Duration // how long a container runs before somebody asks for its conmon: most end before
	mu    sync.Mutex
	all   map[string]*monitor
}

type monitor struct {
	users int
	stop  context.CancelFunc
	lost  chan struct{} // closed when conmon is known to be gone
}

// monitorInterval is how often the service looks.
const monitorInterval = "10s"

// watch returns a channel that is closed when conmon is gone while the container is on record as running; all who await its exit are woken then.
// The caller calls leave when it does not need that any more.
func (m *monitors) watch(id string) (lost <-chan struct{}, leave func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.all[id]
	if one == nil {
		ctx, stop := context.WithCancel(m.d.ctx)
		one = &monitor{stop: stop, lost: make(chan struct{})}
		m.all[id] = one
		m.d.tasks.Go(func() { m.run(ctx, id, one.lost) })
	}
	one.users++
	return one.lost, sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if one.users--; one.users == 0 {
			one.stop()
			delete(m.all, id)
		}
	})
}

// run waits for the end of a container at the service. If that says that nobody knows how it ended, or, as later versions do, twice that it has ended, and
// still has it on record as running, it has no conmon.
func (m *monitors) run(ctx context.Context, id string, lost chan<- struct{}) {
	for strikes := 0; strikes < 2; {
		if pause(ctx, m.after) != nil {
			return
		}
		err := m.d.patiently(ctx, func() error {
			return m.d.api.call(ctx, "POST", "/containers/"+id+"/wait", url.Values{"interval": {monitorInterval}}, nil, nil)
		})
		c, lookErr := m.d.look(ctx, id)
		switch {
		case ctx.Err() != nil || errdefs.IsNotFound(lookErr):
			return
		case lookErr != nil:
			strikes = 0
		case phaseOf(c) != phaseRunning:
			return // which the events tell
		case err != nil && answered(err) && strings.Contains(err.Error(), "no such exit code"):
			strikes = 2
		case err == nil:
			strikes++
		default:
			strikes = 0
		}
	}
	m.d.bereft.Add(id)
	// What still runs of it would run beside the next attempt, and nobody could tell how it ends.
	_ = m.d.api.call(ctx, "POST", "/containers/"+id+"/kill", url.Values{"signal": {"KILL"}}, nil, nil)
	close(lost)
	m.d.hub.poke(id, false)
	m.d.hub.lookAgain()
}
