package fake

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// Config is how a runtime is made. The zero value has every image, each empty, and no programs.
type Config struct {
	// Programs are what processes run. The key is an image's name, for whatever runs in it; a command as it
	// is in the argument vector, such as "sh"; the absolute path of an executable file in the container; or "", for
	// everything else. Only with the third must the file exist.
	Programs map[string]Program
	// Images are what the runtime has at the beginning. Nil: it has every image that it is asked for, each empty.
	Images map[string]Image
	// Pull fetches an image that the runtime does not have. Nil: no registry has any. Its error should have a class
	// of errdefs.
	Pull func(ctx context.Context, spec driver.PullSpec) (Image, error)
	// Patience is how long a driver value tries to reach a runtime that is down, or to which its line is cut,
	// before it returns Unavailable. Zero: not at all.
	Patience time.Duration
	// ServiceGrace is the time between TERM and KILL for services when the main process has ended; 0 is two seconds.
	ServiceGrace time.Duration
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Runtime is a container runtime in memory. It outlives the driver values that work on it.
type Runtime struct {
	cfg  Config
	disk disk
	line line

	mu        sync.Mutex
	handles   int
	images    map[string]*Image
	pulls     map[string]*pull
	tasks     map[driver.TaskID]*task
	volumes   map[driver.VolumeID]*volume
	sandboxes map[driver.SandboxID]*sandbox
	watchers  map[*watcher]bool
}

// New returns a runtime. It panics if an image of cfg is no valid tar stream.
func New(cfg Config) *Runtime {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ServiceGrace == 0 {
		cfg.ServiceGrace = 2 * time.Second
	}
	rt := &Runtime{
		cfg: cfg, images: map[string]*Image{}, pulls: map[string]*pull{}, tasks: map[driver.TaskID]*task{},
		volumes: map[driver.VolumeID]*volume{}, sandboxes: map[driver.SandboxID]*sandbox{}, watchers: map[*watcher]bool{},
	}
	rt.disk.now = rt.now
	for name, img := range cfg.Images {
		if err := rt.AddImage(name, img); err != nil {
			panic(fmt.Sprintf("fake: image %s: %v", name, err))
		}
	}
	return rt
}

// Open returns a driver value that works for the owner.
func (rt *Runtime) Open(owner string) *Driver {
	return &Driver{rt: rt, owner: owner, closed: make(chan struct{})}
}

// OpenAllowing returns a driver value that allows privileged containers, more capabilities and new privileges. The fields
// for the network and the files of the host are unsupported, for there is no host.
func (rt *Runtime) OpenAllowing(owner string) *Driver {
	d := rt.Open(owner)
	d.allow = true
	return d
}

func (rt *Runtime) now() time.Time { return rt.cfg.Now() }

// Down makes the runtime not answer, as a daemon that was stopped. Tasks go on.
func (rt *Runtime) Down() { rt.line.set(true) }

// Up makes the runtime answer again.
func (rt *Runtime) Up() { rt.line.set(false) }

// Remove removes a task as someone else would, behind the back of every driver value.
func (rt *Runtime) Remove(id driver.TaskID) error {
	if t := rt.task(id); t != nil {
		t.remove(driver.Result{Outcome: driver.Lost, Reason: "the container was removed"})
		return nil
	}
	return driver.WithClass(errdefs.ErrNotFound, "no task %s", id)
}

// Evict ends a task as a node does that is short of resources. The task stays until Remove.
func (rt *Runtime) Evict(id driver.TaskID, reason string) error {
	if t := rt.task(id); t != nil {
		t.end(driver.Result{Outcome: driver.Evicted, Reason: reason})
		t.killAll()
		return nil
	}
	return driver.WithClass(errdefs.ErrNotFound, "no task %s", id)
}

// Signal sends a signal to a task's main process.
func (rt *Runtime) Signal(id driver.TaskID, signal int) error {
	if t := rt.task(id); t != nil {
		t.main.signal(signal)
		return nil
	}
	return driver.WithClass(errdefs.ErrNotFound, "no task %s", id)
}

// Left names everything that the runtime has of an owner, in order.
func (rt *Runtime) Left(owner string) []string {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	var left []string
	for id, t := range rt.tasks {
		if t.owner == owner {
			left = append(left, "task "+string(id))
		}
	}
	for id, v := range rt.volumes {
		if v.owner == owner {
			left = append(left, "volume "+string(id))
		}
	}
	for id, s := range rt.sandboxes {
		if s.owner == owner {
			left = append(left, "sandbox "+string(id))
		}
	}
	slices.Sort(left)
	return left
}

func (rt *Runtime) task(id driver.TaskID) *task {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.tasks[id]
}

// handle returns a number that was not used before. The lock is held.
func (rt *Runtime) handle() int {
	rt.handles++
	return rt.handles
}

func (d *Driver) capabilities() driver.Capabilities {
	return driver.Capabilities{
		Runtime: "fake (in memory)", OS: "linux", Arch: runtime.GOARCH,
		Exec: true, Dial: true, Events: true, Pull: true, Stats: true, Sandboxes: true,
		Init: true, Services: true, NetworkOwn: true, NetworkNone: true, Hostname: true,
		DNS: true, Hosts: true, VolumeSubPath: true, VolumeUsage: true,
		CPULimit: true, MemoryLimit: true, PIDLimit: true, Secrets: true,
		Privileged: d.allow, AddCapabilities: d.allow, NewPrivileges: d.allow,
	}
}

// line is a connection that can be cut.
type line struct {
	mu      sync.Mutex
	cut     bool
	changed chan struct{} // closed at the next change
}

func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// state says whether the line is cut, and returns a channel that the next change closes.
func (l *line) state() (cut bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.cut, l.changed
}

// labelled reports whether labels has all that the options ask for.
func labelled(labels map[string]string, opts driver.ListOptions) bool {
	for k, v := range opts.Labels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func cloneLabels(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return maps.Clone(labels)
}
