package provisioner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/hashicorp/go-hclog"

	"github.com/wharfci/wharf/driver"
)

// Provisioner accepts triggers, starts workers when their turn comes, and removes them. It keeps nothing: what there is stands on the runtime.
// Several may serve one runtime. Its methods may be called by many goroutines at once.
type Provisioner struct {
	cfg   Config
	id    string // of this value, for slots
	fleet *fleet
	log   hclog.Logger

	wake      chan struct{} // the queue may have changed
	running   sync.WaitGroup
	starting  sync.Map                      // IDs of tasks that this value is starting
	seen      map[driver.VolumeID]time.Time // when schedule first saw a slot of a worker that another provisioner has to start
	strangers struct {
		sync.Mutex
		ids []driver.TaskID
	}
	probe struct {
		sync.Mutex
		at  time.Time
		err error
	}
	ctx  context.Context
	stop context.CancelCauseFunc
}

// Errors of a trigger. Those of the runtime have their own classes.
var (
	// ErrQueueFull: as many workers wait as Limits.Queue allows.
	ErrQueueFull = errors.New("the queue is full")
	// ErrNoWorker: there is no worker of that ID.
	ErrNoWorker = errors.New("there is no such worker")
	// ErrClosing: the provisioner is being shut down.
	ErrClosing = errors.New("the provisioner is shutting down")
)

// New checks the configuration and returns a provisioner that does nothing yet: see Run.
func New(cfg Config) (*Provisioner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the provisioner: %w", err)
	}
	cfg.complete()
	p := &Provisioner{cfg: cfg, id: strings.ToLower(rand.Text()[:10]), log: cfg.Log, wake: make(chan struct{}, 1), seen: map[driver.VolumeID]time.Time{}}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	p.fleet = newFleet()
	return p, nil
}

// Run follows what happens on the runtime, starts workers, and removes those that are done with, until ctx ends; then it returns nil, and what is
// being started goes on being started by another provisioner or the next one. A runtime that is away is waited for.
func (p *Provisioner) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { p.stop(ErrClosing) })()
	defer p.running.Wait()
	defer p.stop(ErrClosing)
	p.running.Go(p.watch)
	p.running.Go(p.fetch)
	p.running.Go(p.tidy)
	for {
		select {
		case <-p.ctx.Done():
			return nil
		case <-p.wake:
			if err := p.schedule(p.ctx); err != nil && p.ctx.Err() == nil {
				p.log.Warn("the queue stands still: the runtime does not answer", "error", err)
				p.pause(time.Second)
				p.poke()
			}
		}
	}
}

// poke has the queue looked at.
func (p *Provisioner) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// pause waits, for a runtime that is away, and reports whether to go on.
func (p *Provisioner) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

var workers = driver.ListOptions{Labels: map[string]string{LabelRole: roleWorker}}

// watch keeps the fleet as the runtime has it.
func (p *Provisioner) watch() {
	wait := backoff{}
	for {
		err := p.refresh(p.ctx)
		if err == nil {
			p.fleet.reach(nil)
			wait = backoff{}
			err = driver.Events(p.ctx, p.cfg.Driver, workers, p.event)
		}
		if p.ctx.Err() != nil {
			return
		}
		p.fleet.reach(err)
		p.log.Warn("the runtime does not tell what happens", "error", err)
		if !p.pause(wait.next()) {
			return
		}
	}
}

// event takes in what the runtime tells of one task.
func (p *Provisioner) event(ev driver.Event) error {
	if ev.Removed {
		p.fleet.removed(ev.Task)
		p.poke()
		return nil
	}
	if !p.fleet.changed(ev) {
		p.strange(ev.Task)
		return nil
	}
	p.attend(ev.Task)
	p.poke()
	return nil
}

// meetTime is how long a task may be strange: one that this provisioner is just making will be known by itself.
const meetTime = 300 * time.Millisecond

// strange has all workers asked for soon, if one that an event told of is still not known then: another provisioner has made it.
func (p *Provisioner) strange(id driver.TaskID) {
	p.strangers.Lock()
	defer p.strangers.Unlock()
	p.strangers.ids = append(p.strangers.ids, id)
	if len(p.strangers.ids) > 1 {
		return
	}
	time.AfterFunc(meetTime, func() {
		p.strangers.Lock()
		ids := p.strangers.ids
		p.strangers.ids = nil
		p.strangers.Unlock()
		if p.ctx.Err() != nil || p.fleet.knows(ids) {
			return
		}
		if err := p.refresh(p.ctx); err != nil && p.ctx.Err() == nil {
			p.log.Warn("the workers of other provisioners are not known yet", "error", err)
			p.strange(ids[0])
		}
	})
}

// refresh asks for all workers.
func (p *Provisioner) refresh(ctx context.Context) error {
	tasks, err := p.cfg.Driver.List(ctx, workers)
	if err != nil {
		return err
	}
	p.fleet.reconcile(tasks)
	for _, t := range tasks {
		p.attend(t.ID)
	}
	p.poke()
	return nil
}

// attend reads what a worker that has been started says, once.
func (p *Provisioner) attend(id driver.TaskID) {
	if m := p.fleet.claimReader(id); m != nil {
		p.running.Go(func() { p.read(m) })
	}
}

// Trigger asks for a build and returns its worker, which waits for its turn. Asking again for the same build of the same instance returns the same
// worker, and made is false. It returns when the worker is on the runtime; what fails leaves nothing there.
//
// Errors: ErrQueueFull; those of [driver.Driver].Create, Unavailable among them.
func (p *Provisioner) Trigger(ctx context.Context, t Trigger) (w Worker, made bool, err error) {
	if p.ctx.Err() != nil {
		return w, false, ErrClosing
	}
	id := workerID(t.Instance, t.Build)
	if _, is := p.fleet.broken(id); is {
		if err := p.refresh(ctx); err != nil {
			return w, false, err
		}
	}
	if half, is := p.fleet.broken(id); is {
		p.log.Warn("a worker was made by half, and is made anew", "worker", id)
		if err := p.remove(ctx, id, half); err != nil {
			return w, false, err
		}
	}
	if w, ok := p.fleet.worker(id); ok {
		if err := p.finished(ctx, id); err != nil {
			return w, false, err
		}
		return w, false, nil
	}
	if n := p.fleet.queued(); n >= p.cfg.Limits.Queue {
		return w, false, fmt.Errorf("%w: %d workers wait", ErrQueueFull, n)
	}
	volume, err := p.volume(ctx, id)
	if err != nil {
		return w, false, err
	}
	spec, err := p.task(&t, volume)
	if err != nil {
		return w, false, err
	}
	task, err := p.cfg.Driver.Create(ctx, spec)
	switch {
	case err == nil:
		p.fleet.add(driver.Task{ID: task, Name: id, Labels: spec.Labels, State: driver.StateCreated, Created: time.Now()})
		made = true
	case errdefs.IsAlreadyExists(err): // by another provisioner, or by the same call before
		if err := p.refresh(ctx); err != nil {
			return w, false, err
		}
	default:
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if left := p.cfg.Driver.RemoveVolume(clean, volume); left != nil && !errdefs.IsFailedPrecondition(left) {
			p.log.Warn("the volume of a worker that could not be made is left, and will be removed later", "worker", id, "error", left)
		}
		return w, false, err
	}
	p.poke()
	w, ok := p.fleet.worker(id)
	if !ok {
		return w, false, driver.WithClass(errdefs.ErrUnavailable, "worker %s was removed at once; try again", id)
	}
	if !made {
		err = p.finished(ctx, id)
	}
	return w, made, err
}

// finished returns an error if a worker is there by half: another provisioner is just making it, or died over it. Nobody may take that for a build that will run.
func (p *Provisioner) finished(ctx context.Context, id string) error {
	if !p.fleet.unfinished(id) {
		return nil
	}
	if err := p.refresh(ctx); err != nil || !p.fleet.unfinished(id) {
		return err
	}
	return driver.WithClass(errdefs.ErrUnavailable, "worker %s is just being made, or whoever made it has died; try again, for a minute at most, or delete it", id)
}

// volume makes a worker's volume, or returns the one that a call before has made.
func (p *Provisioner) volume(ctx context.Context, id string) (driver.VolumeID, error) {
	labels := map[string]string{LabelRole: roleWorker, LabelWorker: id}
	volume, err := p.cfg.Driver.CreateVolume(ctx, driver.VolumeSpec{Name: id, Labels: labels})
	if !errdefs.IsAlreadyExists(err) {
		return volume, err
	}
	there, err := p.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: labels})
	if err != nil {
		return "", err
	}
	if len(there) == 0 {
		return "", driver.WithClass(errdefs.ErrUnavailable, "the volume of worker %s is just being removed; try again", id)
	}
	return there[0].ID, nil
}

// Workers returns all workers: those that are queued in the order in which they will start, then the others, the newest first.
func (p *Provisioner) Workers() []Worker { return p.fleet.all() }

// Worker returns one worker, or ErrNoWorker.
func (p *Provisioner) Worker(id string) (Worker, error) {
	if w, ok := p.fleet.worker(id); ok {
		return w, nil
	}
	return Worker{}, fmt.Errorf("worker %q: %w", id, ErrNoWorker)
}

// Ready reports why the provisioner cannot do its work now, or nil: the runtime does not answer within five seconds, or has not got the workers' image. The runtime is
// asked once in two seconds at most.
func (p *Provisioner) Ready(ctx context.Context) error {
	if err := errors.Join(p.fleet.reachable(), p.fleet.imageThere()); err != nil {
		return err
	}
	p.probe.Lock()
	defer p.probe.Unlock()
	if time.Since(p.probe.at) > 2*time.Second {
		ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second, errors.New("the runtime does not answer within five seconds"))
		defer cancel()
		_, err := p.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: map[string]string{LabelRole: roleSlot}})
		if p.probe.err = err; ctx.Err() != nil {
			p.probe.err = context.Cause(ctx)
		}
		p.probe.at = time.Now()
	}
	return p.probe.err
}

// fetch has the runtime get the workers' image ahead of the first worker, on runtimes that can.
func (p *Provisioner) fetch() {
	wait := backoff{}
	for {
		err := driver.Pull(p.ctx, p.cfg.Driver, driver.PullSpec{Image: p.cfg.Image, Policy: p.cfg.Pull, Credentials: p.cfg.Registry})
		if p.ctx.Err() != nil {
			return
		}
		if err == nil || errors.Is(err, driver.ErrUnsupported) {
			p.fleet.haveImage(nil)
			return
		}
		p.fleet.haveImage(fmt.Errorf("the workers' image is not there: %w", err))
		p.log.Warn("the workers' image is not there", "image", p.cfg.Image, "error", err)
		if !p.pause(wait.next()) {
			return
		}
	}
}

// backoff grows from a fifth of a second to ten seconds.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(200*time.Millisecond, 2*b.last), 10*time.Second)
	return b.last
}
