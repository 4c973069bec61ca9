package fake

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/wharfci/wharf/driver"
)

// task is a task of the runtime. It lives on without any driver value.
type task struct {
	rt      *Runtime
	id      driver.TaskID
	owner   string
	number  int
	spec    driver.TaskSpec
	created time.Time
	net     *network
	journal journal

	main     *box
	init     []*box
	services []*box

	started chan struct{} // closed when the main process was started, or the task has ended without
	ended   chan struct{}

	mu       sync.Mutex
	state    driver.State
	stopping bool
	began    time.Time
	result   driver.Result
}

// newTask makes a task and its containers. Nothing that was made is to be found if it fails.
func (rt *Runtime) newTask(owner string, number int, spec driver.TaskSpec, images map[string]*Image, volumes map[driver.VolumeID]*volume, net *network) (*task, error) {
	t := &task{
		rt: rt, owner: owner, number: number, spec: spec, created: rt.now(), net: net, state: driver.StateCreated,
		id:      driver.TaskID(fmt.Sprintf("task-%d-%s", number, spec.Name)),
		started: make(chan struct{}), ended: make(chan struct{}),
	}
	t.journal.now = rt.now
	spec.Container.Name = driver.MainContainer
	var err error
	if t.main, err = t.newBox(spec.Container, images, volumes); err != nil {
		return nil, err
	}
	for _, c := range spec.Init {
		b, err := t.newBox(c, images, volumes)
		if err != nil {
			return nil, err
		}
		t.init = append(t.init, b)
	}
	for _, s := range spec.Services {
		b, err := t.newBox(s.Container, images, volumes)
		if err != nil {
			return nil, err
		}
		t.services = append(t.services, b)
	}
	return t, nil
}

func (t *task) newBox(c driver.Container, images map[string]*Image, volumes map[driver.VolumeID]*volume) (*box, error) {
	img := images[c.Image]
	v := &view{disk: &t.rt.disk, root: t.rt.disk.clone(img.root)}
	b := &box{task: t, name: c.Name, spec: c, img: img, view: v, procs: map[*Proc]bool{}}
	b.env = merge([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + t.hostname()}, nil, img.Env...)
	b.env = merge(b.env, c.Env)
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	for _, m := range c.Mounts {
		if err := v.mount(m, volumes[m.Volume]); err != nil {
			return nil, pathError(m.Path, err)
		}
	}
	for _, s := range t.spec.SecretsOf(c.Name) {
		if err := v.secret(s); err != nil {
			return nil, pathError(s.Path, err)
		}
	}
	v.readOnly = c.Security.ReadOnlyRoot
	return b, nil
}

// mount makes a volume, or a directory in it, appear in the view.
func (v *view) mount(m driver.Mount, vol *volume) error {
	at, err := v.mkdirAll(m.Path, 0o755)
	if err != nil {
		return err
	}
	dir := vol.root
	if m.SubPath != "" {
		inside := &view{disk: v.disk, root: vol.root}
		sub, err := inside.mkdirAll("/"+m.SubPath, 0o755)
		if err != nil {
			return err
		}
		dir = sub.node
	}
	v.mounts = append(v.mounts, mount{path: at.path, root: dir, readOnly: m.ReadOnly})
	return nil
}

func (v *view) secret(s driver.Secret) error {
	if _, err := v.mkdirAll(path.Dir(s.Path), 0o755); err != nil {
		return err
	}
	n, err := v.create(s.Path, 0, root)
	if err != nil {
		return err
	}
	if n.mode = fs.FileMode(s.Mode); s.Mode == 0 {
		n.mode = 0o400
	}
	n.uid = s.UID
	n.data.write(s.Value)
	return nil
}

func (t *task) boxes() []*box { return slices.Concat(t.init, t.services, []*box{t.main}) }

// box returns a container by name, or nil.
func (t *task) box(name string) *box {
	for _, b := range t.boxes() {
		if b.name == name || name == "" && b == t.main {
			return b
		}
	}
	return nil
}

func (t *task) hostname() string {
	if name := t.spec.Network.Hostname; name != "" {
		return name
	}
	if name := t.net.spec.Hostname; name != "" {
		return name
	}
	return fmt.Sprintf("task-%d", t.number)
}

func (t *task) uses(id driver.VolumeID) bool {
	return slices.ContainsFunc(t.boxes(), func(b *box) bool {
		return slices.ContainsFunc(b.spec.Mounts, func(m driver.Mount) bool { return m.Volume == id })
	})
}

// info is the task as List has it.
func (t *task) info() driver.Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	return driver.Task{ID: t.id, Name: t.spec.Name, Labels: cloneLabels(t.spec.Labels), State: t.state, Created: t.created}
}

func (t *task) isRunning() bool { return t.info().State == driver.StateRunning }

// set moves the task to a state, unless it has ended.
func (t *task) set(s driver.State) {
	t.mu.Lock()
	changed := t.state < s
	if changed {
		t.state = s
	}
	t.mu.Unlock()
	if changed {
		t.rt.publish(t, false)
	}
}

// end records how the task ended. The first call counts.
func (t *task) end(res driver.Result) {
	t.mu.Lock()
	if t.state == driver.StateEnded {
		t.mu.Unlock()
		return
	}
	t.state = driver.StateEnded
	res.Started = t.began
	if res.Ended.IsZero() {
		res.Ended = t.rt.now()
	}
	t.result = res
	t.stopping = true
	select {
	case <-t.started:
	default:
		close(t.started)
	}
	close(t.ended)
	t.mu.Unlock()
	t.journal.end(false)
	t.rt.publish(t, false)
}

func (t *task) killAll() {
	for _, b := range t.boxes() {
		b.killAll()
	}
}

// remove takes the task away. If it has not ended, it ends with this result.
func (t *task) remove(res driver.Result) {
	t.rt.mu.Lock()
	_, there := t.rt.tasks[t.id]
	delete(t.rt.tasks, t.id)
	t.rt.mu.Unlock()
	if !there {
		return
	}
	t.journal.end(true)
	t.end(res)
	t.killAll()
	t.rt.publish(t, true)
}

// stop asks the task to end, and kills it after the grace time. It does not wait.
func (t *task) stop(grace time.Duration) {
	t.mu.Lock()
	t.stopping = true
	state := t.state
	t.mu.Unlock()
	switch state {
	case driver.StateEnded:
		return
	case driver.StateCreated:
		t.end(driver.Result{Outcome: driver.Stopped})
		return
	}
	if grace > 0 {
		for _, b := range t.boxes() {
			b.signal(15)
		}
	}
	go func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-t.ended:
		case <-timer.C:
			t.killAll()
		}
	}()
}
