package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
)

// ErrClaimLost is the error of an act on a claim that is not held any more, or not for certain.
var ErrClaimLost = errors.New("the claim of the build is not held any more")

// ClaimOptions say who asks for a claim.
type ClaimOptions struct {
	// Holder names who asks, for people and for others that ask: 1 to 200 bytes.
	Holder string
	// Wait waits until the claim is free.
	Wait bool
	// Fence, if it is not 0, is that of a claim that this process had, and whose connection it has lost: it is granted at once if nobody else has had it since.
	Fence uint64
	// Told, if not nil, is called from one goroutine with who has the claim and who waits for it, at first and whenever that has changed, while this one waits and while it holds it.
	Told func(Contest)
}

// Contest is who has a claim, empty if nobody does, and who waits for it, in their order.
type Contest struct {
	Holder  string
	Waiting []string
}

// Claim is held by the one that relays the build. Its methods may be called by many goroutines at once.
//
// A holder that is cut off or paused does not notice at once that another has the claim. So what it sends on is to be sent under a lease: [Claim.Lease] asks for one, and
// [Claim.Until] says how long it lasts. The worker lets nobody else have the claim before the lease is over, by this process's own clock.
type Claim struct {
	// Fence is larger with every claim that is granted.
	Fence uint64
	// Clean says that the holder before has given the claim back, if there was one: nothing that it has sent on is under way.
	Clean bool

	client *Client
	stream grpc.BidiStreamingClient[workerv1.ClaimRequest, workerv1.ClaimResponse]
	cancel context.CancelFunc
	lost   chan struct{}

	mu       sync.Mutex
	sent     time.Time // when the request that has no answer yet was sent; zero if there is none
	number   uint64    // of the last request
	until    time.Time // the end of the lease
	whole    time.Duration
	renewed  chan struct{} // closed, and replaced, with every answer
	taken    uint64
	unstated bool // taken has not been told
}

// Claim asks for the claim, and waits for it if it is not free and that is wanted; else the error is FailedPrecondition and names who has it. It is
// FailedPrecondition too for who waits when everything of the build has been taken. The claim is held until Close or Pass, the end of ctx, or the loss of the connection.
func (c *Client) Claim(ctx context.Context, opts ClaimOptions) (*Claim, error) {
	ctx, cancel := context.WithCancel(c.with(ctx))
	claim, err := c.claim(ctx, opts)
	if err != nil {
		cancel()
		return nil, err
	}
	claim.cancel = cancel
	go claim.listen(opts)
	return claim, nil
}

func (c *Client) claim(ctx context.Context, opts ClaimOptions) (*Claim, error) {
	stream, err := c.api.Claim(ctx)
	if err != nil {
		return nil, err
	}
	// Its own error says less than that of Recv.
	_ = stream.Send(&workerv1.ClaimRequest{Holder: opts.Holder, Wait: opts.Wait, Fence: opts.Fence})
	for {
		msg, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		opts.tell(msg)
		if msg.GetFence() != 0 {
			return &Claim{Fence: msg.GetFence(), Clean: msg.GetClean(), client: c, stream: stream, lost: make(chan struct{}), renewed: make(chan struct{})}, nil
		}
	}
}

func (o *ClaimOptions) tell(msg *workerv1.ClaimResponse) {
	if o.Told != nil && msg.GetRenewal() == 0 {
		o.Told(Contest{Holder: msg.GetHolder(), Waiting: slices.Clone(msg.GetWaiting())})
	}
}

// listen takes what the worker tells, until the claim is lost.
func (c *Claim) listen(opts ClaimOptions) {
	defer close(c.lost)
	for {
		msg, err := c.stream.Recv()
		if err != nil {
			return
		}
		c.answered(msg)
		opts.tell(msg)
	}
}

// answered takes in the answer to a request for a lease.
func (c *Claim) answered(msg *workerv1.ClaimResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if msg.GetRenewal() == 0 || msg.GetRenewal() != c.number {
		return
	}
	c.whole = msg.GetLease().AsDuration()
	c.until, c.sent = c.sent.Add(c.whole), time.Time{}
	close(c.renewed)
	c.renewed = make(chan struct{})
}

// Lost is closed when the claim is not held any more.
func (c *Claim) Lost() <-chan struct{} { return c.lost }

// Until returns the end of the lease, by the clock of this process; the zero time if there is none. It takes some ten nanoseconds, and is to be asked just before each act.
func (c *Claim) Until() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.until
}

// Lease makes sure that there is a lease that lasts for a third of its time at least, and waits for one if need be. It asks for the next one ahead. Errors: ErrClaimLost; that of ctx.
func (c *Claim) Lease(ctx context.Context) error {
	for {
		left, renewed, err := c.ask()
		if err != nil {
			return err
		}
		if left {
			return nil
		}
		select {
		case <-renewed:
		case <-c.lost:
			return ErrClaimLost
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ask asks for a lease if a third of it has passed and none is asked for, and reports whether a third is left.
func (c *Claim) ask() (left bool, renewed <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	rest := c.until.Sub(now)
	if rest <= c.whole*2/3 && c.sent.IsZero() {
		c.number++
		c.sent = now
		err = c.send(&workerv1.ClaimRequest{Renewal: c.number, Taken: c.taken})
		c.unstated = false
	}
	return rest > c.whole/3 && rest > 0, c.renewed, err
}

// send sends a request. The claim is locked.
func (c *Claim) send(req *workerv1.ClaimRequest) error {
	if err := c.stream.Send(req); err != nil {
		return fmt.Errorf("%w: %w", ErrClaimLost, err)
	}
	return nil
}

// Taken says that everything up to an entry has been sent on, for who asks the worker. It is told with the next request for a lease, or at once if tell is set.
func (c *Claim) Taken(last uint64, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unstated = c.unstated || last != c.taken
	c.taken = last
	if tell && c.unstated {
		c.unstated = c.send(&workerv1.ClaimRequest{Taken: c.taken}) != nil
	}
}

// Release says that everything up to the entry last has been taken, so that the worker may end.
func (c *Claim) Release(ctx context.Context, last uint64) error {
	_, err := c.client.api.Release(c.client.with(ctx), &workerv1.ReleaseRequest{Fence: c.Fence, LastEntry: last})
	return err
}

// goodbye is how long Pass waits for the worker to hear of it.
const goodbye = time.Second

// Pass gives the claim back, and says by that that nothing that was sent on under it is still under way. Of those that wait, next is to have it, if it is not empty.
func (c *Claim) Pass(next string) {
	c.mu.Lock()
	if next != "" || c.unstated {
		_ = c.send(&workerv1.ClaimRequest{Taken: c.taken, Next: next})
	}
	_ = c.stream.CloseSend()
	c.until = time.Time{}
	c.mu.Unlock()
	t := time.NewTimer(goodbye)
	defer t.Stop()
	select {
	case <-c.lost:
	case <-t.C:
	}
	c.Abandon()
}

// Close is Pass to nobody in particular.
func (c *Claim) Close() { c.Pass("") }

// Abandon drops the claim where something may be under way: nobody has it before the lease is over.
func (c *Claim) Abandon() {
	c.cancel()
	<-c.lost
}
