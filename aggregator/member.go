package aggregator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wharfci/wharf/aggregator/sink"
	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner"
	"github.com/wharfci/wharf/worker/client"
)

// tend sees a worker through: it waits until it runs, claims it and relays it, and if it has ended before everything was relayed, says why.
func (a *Aggregator) tend(ctx context.Context, m *member) {
	var t tending
	defer t.drop()
	wait := backoff{}
	var failing, warned time.Time // since when it is not relayed, and when that was said last
	for ctx.Err() == nil {
		state, removed, changed := m.now()
		switch {
		case removed || state == driver.StateEnded:
			a.conclude(ctx, m, &t)
			return
		case state != driver.StateRunning:
			a.await(ctx, m, &t, changed)
			continue
		}
		_, made := a.contact.state()
		select {
		case <-made:
		case <-changed:
			continue
		case <-ctx.Done():
			return
		}
		err := a.serve(ctx, m, &t)
		if ctx.Err() != nil {
			return
		}
		if t.done {
			a.seeOff(ctx, m, &t)
			return
		}
		if errors.Is(err, client.ErrClaimLost) { // it was held until then
			wait, failing = backoff{}, time.Time{}
		}
		next := wait.next(5 * time.Second)
		say := a.log.Debug
		if now := time.Now(); failing.IsZero() {
			failing = now
		} else if now.Sub(failing) > patience && now.Sub(warned) > patience {
			say, warned = a.log.Warn, now
		}
		hint := ""
		if status.Code(err) == codes.Unauthenticated {
			hint = "it does not take the token: give the --worker-key of the provisioner that has made it"
		}
		say("a worker is not relayed; trying again", "worker", m.worker.ID, "error", err, "help", hint, "since", failing.Format(time.RFC3339), "in", next.String())
		pauseUntil(ctx, next, changed)
	}
}

// parting is how long a worker that was released has to be removed when it has ended.
const parting = 10 * time.Second

// seeOff sees a worker go that was released. One that died before it could say so is not removed by the provisioner: it is as any other that has ended.
func (a *Aggregator) seeOff(ctx context.Context, m *member, t *tending) {
	for ctx.Err() == nil {
		state, removed, changed := m.now()
		if removed {
			return
		}
		var late <-chan time.Time
		if state == driver.StateEnded {
			timer := time.NewTimer(parting)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-late:
			t.done, t.relayed = false, true
			a.conclude(ctx, m, t)
			return
		}
	}
}

// patience is how long a worker may not be relayed before that is said, and how long before it is said again.
const patience = 30 * time.Second

// await waits for a worker that does not run yet to change. One whose turn has come, and that the runtime does not start for long and says why, is ended.
func (a *Aggregator) await(ctx context.Context, m *member, t *tending, changed <-chan struct{}) {
	never := make(<-chan time.Time)
	since, reason := m.waiting()
	if !since.IsZero() {
		timer := time.NewTimer(time.Until(since.Add(a.cfg.Unstarted)))
		defer timer.Stop()
		never = timer.C
	}
	select {
	case <-changed:
		return
	case <-ctx.Done():
		return
	case <-never:
	}
	say := a.log.Warn
	if t.unstarted != "" { // it has been said
		say = a.log.Debug
	}
	say("a worker does not start; its build is failed", "worker", m.worker.ID, "build", m.worker.Build, "after", a.cfg.Unstarted.String(), "reason", reason)
	t.unstarted = fmt.Sprintf("not within %s: %s", a.cfg.Unstarted, reason)
	if err := a.cfg.Driver.Stop(ctx, m.task.ID, driver.StopOptions{}); err != nil && !errdefs.IsNotFound(err) {
		a.log.Warn("a worker that does not start cannot be ended; trying again", "worker", m.worker.ID, "error", err)
		pause(ctx, mostPause)
		return
	}
	select { // the runtime tells
	case <-changed:
	case <-ctx.Done():
	}
}

// tending is what is known of a worker beyond one claim of it.
type tending struct {
	done bool // everything has been taken
	// relayed says so of a worker that has ended since, and that nobody has removed.
	relayed bool
	fence   uint64
	lost    uint64      // the fence of a claim whose connection was lost
	report  sink.Report // stays from one claim to the next if nobody else had one between
	begun   bool        // the sink knows that the build runs

	unstarted string // why it was ended before it was started

	mu    sync.Mutex
	lease lease // the one that counts now
}

// hold makes a lease the one that counts.
func (t *tending) hold(l lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lease = l
}

// until is the end of the turn.
func (t *tending) until() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lease == nil {
		return time.Time{}
	}
	return t.lease.Until()
}

// take makes ready for a claim.
func (t *tending) take(claim *client.Claim, build uint64, s sink.Sink) {
	if t.report != nil && claim.Fence != t.fence+1 { // somebody else had it
		t.drop()
	}
	t.fence = claim.Fence
	t.hold(claim)
	if t.report == nil {
		t.begun = false
		t.report = s.Open(build, sink.Turn{Fence: t.until, Clean: claim.Clean})
	}
}

// drop closes what there is at the sink.
func (t *tending) drop() {
	if t.report != nil {
		_ = t.report.Close()
		t.report = nil
	}
}

// Dial prepares to speak with a worker through its runtime, with the key of its provisioner. The connection is made with the first call, which ends when a runtime takes longer than half a minute for it.
func Dial(d driver.Driver, key []byte, worker string, task driver.TaskID) (*client.Client, error) {
	return dial(key, worker, func(ctx context.Context) (net.Conn, error) { return driver.Dial(ctx, d, task, provisioner.Port) })
}

func dial(key []byte, worker string, connect func(context.Context) (net.Conn, error)) (*client.Client, error) {
	return client.Dial(worker, client.Options{
		Token: provisioner.Token(key, worker),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, askBound)
			defer cancel()
			return connect(ctx)
		},
	})
}

// How many connections to workers are made at once, and how long one that is slow keeps others waiting: on Kubernetes each has a process started in the worker's pod, and a node that is asked for more than it
// can start has none ready in time, for as long as all are tried again.
const (
	dialsAtOnce = 8
	dialTurn    = 5 * time.Second
)

// connect makes a connection to a worker when it is its turn.
func (a *Aggregator) connect(ctx context.Context, task driver.TaskID) (net.Conn, error) {
	select {
	case a.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting until fewer connections to workers are being made: %w", context.Cause(ctx))
	}
	next := sync.OnceFunc(func() { <-a.dialing })
	late := time.AfterFunc(dialTurn, next)
	defer func() {
		late.Stop()
		next()
	}()
	return driver.Dial(ctx, a.cfg.Driver, task, provisioner.Port)
}

// serve claims a worker that runs, and relays it, and again when it was passed on. It returns nil when everything has been taken.
func (a *Aggregator) serve(ctx context.Context, m *member, t *tending) error {
	c, err := dial(a.cfg.WorkerKey, m.worker.ID, func(ctx context.Context) (net.Conn, error) { return a.connect(ctx, m.task.ID) })
	if err != nil {
		return err
	}
	defer c.Close()
	defer a.share.forget(m)
	for {
		// The claim outlives ctx, so that it can be given back; waiting for it does not.
		claiming, drop := context.WithCancel(context.WithoutCancel(ctx))
		waiting, over := context.WithCancel(ctx)
		stop := context.AfterFunc(waiting, drop)
		go func() {
			lost, _ := a.contact.state()
			select {
			case <-lost:
				over()
			case <-waiting.Done():
			}
		}()
		claim, err := c.Claim(claiming, client.ClaimOptions{Holder: a.cfg.Name, Wait: true, Fence: t.lost, Told: func(now client.Contest) { a.share.told(m, now) }})
		stop()
		over()
		defer drop()
		if status.Code(err) == codes.FailedPrecondition {
			t.done = true // whoever had the claim has released it
			return nil
		}
		if err != nil {
			return err
		}
		a.met.claims.Inc()
		if !claim.Clean {
			a.met.takeovers.Inc()
		}
		a.log.Info("claimed a worker", "worker", m.worker.ID, "build", m.worker.Build, "fence", claim.Fence, "clean", claim.Clean)
		t.take(claim, m.worker.Build, a.cfg.Sink)
		t.lost = 0
		var p passed
		if err := a.held(ctx, m, t, c, claim); !errors.As(err, &p) {
			return err
		}
	}
}

// isLost reports whether a claim is not held any more.
func isLost(c *client.Claim) bool {
	select {
	case <-c.Lost():
		return true
	default:
		return false
	}
}

// passed is the error of a claim that was passed on.
type passed struct{ to string }

func (p passed) Error() string { return "the claim was passed on to " + p.to }

// held relays a worker that is claimed, and releases it or gives the claim back.
func (a *Aggregator) held(ctx context.Context, m *member, t *tending, c *client.Client, claim *client.Claim) error {
	m.hold(c)
	defer m.hold(nil)
	select { // what was asked for before counts for nothing
	case <-m.passing:
	default:
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-claim.Lost():
			cancel(client.ErrClaimLost)
		case to := <-m.passing:
			cancel(passed{to})
		case <-inner.Done():
		}
	}()
	r := &relay{a: a, m: m, t: t, source: c, renew: newRenewer(claim), taken: claim.Taken}
	err := r.run(inner)
	if cause := context.Cause(inner); err != nil && cause != nil {
		err = cause
	}
	if err == nil {
		bounded, done := context.WithTimeout(ctx, askBound)
		err = claim.Release(bounded, r.last)
		done()
	}
	var p passed
	switch {
	case err == nil:
		t.done = true
		claim.Close()
	case errors.Is(err, client.ErrClaimLost) || isLost(claim):
		claim.Abandon()
		t.lost = claim.Fence
	case !t.report.Clean():
		claim.Abandon()
	case errors.As(err, &p):
		claim.Pass(p.to)
		a.met.passed.Inc()
		a.log.Info("passed a worker on", "worker", m.worker.ID, "build", m.worker.Build, "to", p.to)
	default:
		claim.Pass(a.share.heir(m))
	}
	return err
}
