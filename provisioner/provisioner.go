package provisioner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

	wake     chan struct{} // the queue may have changed
	more     chan struct{} // a worker has come to it
	last     *round        // that schedule has done; nil if the runtime did not answer. It belongs to Run
	life     life
	starting sync.Map                      // IDs of tasks that this value is starting
	freeing  sync.Map                      // IDs of slots that it is removing
	making   sync.Map                      // names of volumes that it is making workers with, each with a channel that is closed when that is done
	seen     map[driver.VolumeID]time.Time // when schedule first saw a slot whose worker somebody else has to start
	crowded  int                           // how often in a row schedule gave way to another provisioner
	pausing  time.Time                     // until when it takes no slots for that reason
	lag      time.Duration                 // by which this value goes on later than others with what a dead one has begun
	met      strangers
	lists    lists
	reading  chan struct{} // has room for those whose past is read at once
	creating chan struct{} // has room for those that are made at once
	removing chan struct{} // has room for those that are removed at once
	probe    struct {
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
	cfg.Driver = bounded{cfg.Driver}
	if cfg.Builds != nil {
		cfg.Builds = bounded{cfg.Builds}
	}
	p := &Provisioner{
		cfg: cfg, id: random(), lag: rand.N(patience / 2), log: cfg.Log, fleet: newFleet(cfg.Limits.of), wake: make(chan struct{}, 1), more: make(chan struct{}, 1), seen: map[driver.VolumeID]time.Time{},
		met: strangers{wake: make(chan struct{}, 1)}, lists: lists{turn: make(chan struct{}, 1)}, reading: make(chan struct{}, atOnce), creating: make(chan struct{}, cfg.Creates), removing: make(chan struct{}, atOnce/2),
	}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	return p, nil
}

// atOnce is how many calls are made at once where there are many to be made.
const atOnce = 16

// life counts what a provisioner does in the background.
type life struct {
	sync.Mutex
	running sync.WaitGroup
	over    bool
}

// spawn does something in the background, which Run waits for, and reports whether it does: not when Run is ending.
func (p *Provisioner) spawn(f func()) bool {
	p.life.Lock()
	defer p.life.Unlock()
	if p.life.over {
		return false
	}
	p.life.running.Go(f)
	return true
}

// end has Run's end wait for what is done in the background.
func (p *Provisioner) end() {
	p.stop(ErrClosing)
	p.life.Lock()
	p.life.over = true
	p.life.Unlock()
	p.life.running.Wait()
}

// Run follows what happens on the runtime, starts workers, and removes those that are done with, until ctx ends; then it returns nil, and what is
// being started goes on being started by another provisioner or the next one. A runtime that is away is waited for. It is called once.
func (p *Provisioner) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { p.stop(ErrClosing) })()
	defer p.end()
	for _, f := range []func(){p.watch, p.meet, p.again, p.fetch, p.tidy} {
		p.spawn(f)
	}
	wait := backoff{}
	for {
		var came bool
		select {
		case <-p.ctx.Done():
			return nil
		case <-p.wake:
		case <-p.more:
			came = true
		}
		began := time.Now()
		var err error
		if !came || !p.full() {
			err = p.schedule(p.ctx)
		}
		if err == nil {
			wait = backoff{}
			p.pause(time.Since(began)) // what happens meanwhile in a long queue is one look
		} else if p.ctx.Err() == nil {
			p.log.Warn("the queue stands still: the runtime does not do what it needs", "error", err)
			p.pause(wait.next())
			p.poke()
		}
	}
}

// poke has the queue looked at.
func (p *Provisioner) poke() { signal(p.wake) }

// came has the queue looked at when a worker has come to it, and nothing has gone.
func (p *Provisioner) came() { signal(p.more) }

// signal leaves word in a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
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

// Workers returns all workers: those that are queued in the order in which they will start, then the others, the newest first.
func (p *Provisioner) Workers() []Worker { return p.fleet.all() }

// Worker returns one worker, or ErrNoWorker.
func (p *Provisioner) Worker(id string) (Worker, error) {
	if w, ok := p.fleet.worker(id); ok {
		return w, nil
	}
	return Worker{}, fmt.Errorf("worker %q: %w", id, ErrNoWorker)
}

// Ready reports why the provisioner cannot do its work now, or nil: the runtime does not answer within five seconds, or has not got the workers' image (which Kubernetes does not say). The runtime is
// asked once in two seconds at most.
func (p *Provisioner) Ready(ctx context.Context) error {
	if err := errors.Join(p.fleet.reachable(), p.fleet.imageThere()); err != nil {
		return err
	}
	p.probe.Lock()
	defer p.probe.Unlock()
	if time.Since(p.probe.at) > 2*time.Second {
		ctx, cancel := context.WithTimeoutCause(p.ctx, 5*time.Second, // not that of who asks, whose end says nothing of the runtime
			errors.New("the runtime does not answer within five seconds"))
		defer cancel()
		_, err := p.cfg.Driver.ListVolumes(ctx, driver.ListOptions{Labels: map[string]string{LabelRole: roleSlot}})
		if err == nil {
			err = p.imageStill(ctx)
		}
		if p.probe.err = err; ctx.Err() != nil {
			p.probe.err = context.Cause(ctx)
		}
		p.probe.at = time.Now()
	}
	return p.probe.err
}

// imageStill returns an error if the workers' image, which was there, is not any more, as when somebody has tidied up; then it is fetched again.
func (p *Provisioner) imageStill(ctx context.Context) error {
	err := driver.Pull(ctx, p.cfg.Driver, driver.PullSpec{Image: p.cfg.Image, Policy: driver.PullNever})
	if !errdefs.IsNotFound(err) {
		return nil // what else is wrong with it says who needs it
	}
	err = fmt.Errorf("the workers' image is not there any more: %w", err)
	p.fleet.haveImage(err)
	p.spawn(p.fetch)
	return err
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

// persist repeats f, longer and longer apart, until it is done or this provisioner ends, and tells each time that it has failed.
func (p *Provisioner) persist(f func() error, failed string, about ...any) {
	wait := backoff{}
	for {
		err := f()
		if err == nil || p.ctx.Err() != nil {
			return
		}
		p.log.Warn(failed, append(about, "error", err)...)
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
