package podman

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Conmon, a process for each container, keeps its output and notes its end. If that process is killed, or crashes as that of version 2.1.6 may when
// someone hangs up while it writes, the service calls the container running for ever, and tells nobody of anything. Only who waits at the service
// is told, after twenty seconds: so the driver waits there too, once for each container that someone waits for or reads.
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

// run waits for the end of a container at the service.
func (m *monitors) run(ctx context.Context, id string, lost chan<- struct{}) {
	if pause(ctx, m.after) != nil {
		return
	}
	err := m.d.patiently(ctx, func() error {
		return m.d.api.call(ctx, "POST", "/containers/"+id+"/wait", url.Values{"interval": {monitorInterval}}, nil, nil)
	})
	if err == nil || !answered(err) || !strings.Contains(err.Error(), "no such exit code") {
		return // it has ended, which the events tell, or is gone
	}
	if c, err := m.d.look(ctx, id); err != nil || phaseOf(c) != phaseRunning {
		return
	}
	m.d.bereft.Add(id)
	close(lost)
	m.d.hub.poke(id, false)
}
