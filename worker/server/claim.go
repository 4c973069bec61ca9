package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/worker/internal/whole"
)

// fenceName is the file in the results directory that holds the number of the last claim, so that none is granted twice, and, once that has been given back, the word "free".
const (
	fenceName = ".fence"
	freeWord  = "free"
)

// releasedName is a file in the results directory that is there when everything has been taken.
const releasedName = ".released"

// leaseTime is how long a holder may act on a claim after it has asked for a lease, whatever happens to it. Another has to wait as long for the claim of one that is cut off.
const leaseTime = 3 * time.Second

// claim is who relays the build.
type claim struct {
	path string

	mu      sync.Mutex
	fence   uint64
	holder  *contender // nil if nobody holds it
	by      string     // who does, or did until a lease that is not over
	until   time.Time  // the end of the last lease
	clean   bool       // the last holder has given it back
	next    string     // who is to have it, as the last holder wants it
	waiting []*contender
	taken   uint64
}

// contender is somebody who asks for the claim.
type contender struct {
	name string
	news chan struct{} // has one when there is something to look at
	told string        // what it knows of the others
}

func openClaim(dir string) (*claim, error) {
	c := &claim{path: filepath.Join(dir, fenceName), clean: true}
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	number, free := "", false
	if err == nil {
		number, free = strings.CutSuffix(strings.TrimSpace(string(text)), freeWord)
		c.fence, err = strconv.ParseUint(strings.TrimSpace(number), 10, 64)
	}
	if err != nil {
		return nil, fmt.Errorf("the number of the last claim: %w", err)
	}
	if !free && c.fence > 0 { // whoever had it from the process before may act on it still
		c.clean, c.by, c.until = false, "one that had it before the worker was started again", time.Now().Add(leaseTime)
		time.AfterFunc(leaseTime, c.wake)
	}
	return c, nil
}

// join adds somebody who asks. Who had the claim last, which its fence proves, and has lost the connection, need not wait for its own lease, nor for the loss to be noticed.
func (c *claim) join(name string, fence uint64) *contender {
	c.mu.Lock()
	defer c.mu.Unlock()
	me := &contender{name: name, news: make(chan struct{}, 1)}
	if fence != 0 && fence == c.fence && !c.clean {
		c.holder, c.until = nil, time.Time{}
		c.waiting = append([]*contender{me}, c.waiting...)
		c.next = name
	} else {
		c.waiting = append(c.waiting, me)
	}
	c.changed()
	return me
}

// leave takes away somebody who asked. A holder that has given the claim back, which clean says, lets the next one have it at once.
func (c *claim) leave(me *contender, clean bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(o *contender) bool { return o == me })
	if c.holder == me {
		c.holder, c.clean = nil, clean
		if clean {
			// What is not stored is only less clean after a restart.
			_ = whole.WriteFile(c.path, fmt.Appendln(nil, c.fence, freeWord), 0o600)
			c.by, c.until = "", time.Time{}
		} else {
			time.AfterFunc(time.Until(c.until), c.wake)
		}
	}
	c.changed()
}

// wake has everybody look.
func (c *claim) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed()
}

// changed has everybody look. The claim is locked.
func (c *claim) changed() {
	for _, o := range append(c.waiting, c.holder) {
		if o == nil {
			continue
		}
		select {
		case o.news <- struct{}{}:
		default:
		}
	}
}

// look returns what is new for somebody who asks; nil if nothing is. It takes the claim for him if it is his turn.
func (c *claim) look(me *contender) (*workerv1.ClaimResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &workerv1.ClaimResponse{}
	if c.turn() == me {
		// The number is on the disk before it is used.
		if err := whole.WriteFile(c.path, fmt.Appendln(nil, c.fence+1), 0o600); err != nil {
			return nil, err
		}
		c.fence++
		out.Fence, out.Clean = c.fence, c.clean
		c.holder, c.by, c.next, c.until, c.clean = me, me.name, "", time.Time{}, false
		c.waiting = slices.DeleteFunc(c.waiting, func(o *contender) bool { return o == me })
		c.changed()
	}
	out.Holder = c.holding()
	for _, o := range c.waiting {
		out.Waiting = append(out.Waiting, o.name)
	}
	told := strings.Join(append([]string{out.Holder}, out.Waiting...), "\x00")
	if told == me.told && out.Fence == 0 {
		return nil, nil
	}
	me.told = told
	return out, nil
}

// turn is who may take the claim now; nil if nobody may.
func (c *claim) turn() *contender {
	if c.holder != nil || len(c.waiting) == 0 || time.Now().Before(c.until) {
		return nil
	}
	if i := slices.IndexFunc(c.waiting, func(o *contender) bool { return o.name == c.next }); i >= 0 {
		return c.waiting[i]
	}
	return c.waiting[0]
}

// heard takes in what one that asks says, and returns the answer, if there is one.
func (c *claim) heard(me *contender, req *workerv1.ClaimRequest) *workerv1.ClaimResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder != me {
		return nil
	}
	c.taken, c.next = max(c.taken, req.GetTaken()), req.GetNext()
	if req.GetRenewal() == 0 {
		return nil
	}
	c.until = time.Now().Add(leaseTime)
	return &workerv1.ClaimResponse{Renewal: req.GetRenewal(), Lease: durationpb.New(leaseTime), Holder: c.by}
}

// holds reports whether somebody holds the claim.
func (c *claim) holds(me *contender) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holder == me
}

// standing is who has the claim, and what he has done with.
func (c *claim) standing() (by string, taken uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holding(), c.taken
}

// holding is who has the claim, or a lease that is not over. The claim is locked.
func (c *claim) holding() string {
	if c.holder == nil && !time.Now().Before(c.until) {
		return ""
	}
	return c.by
}

// has reports whether a fence is that of the claim.
func (c *claim) has(fence uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holder != nil && c.fence == fence
}

// Claim grants the claim for as long as the stream lasts.
func (s *service) Claim(stream grpc.BidiStreamingServer[workerv1.ClaimRequest, workerv1.ClaimResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if holder := first.GetHolder(); holder == "" || len(holder) > 200 {
		return status.Error(codes.InvalidArgument, "the holder must have 1 to 200 bytes")
	}
	claim, ctx := s.server.claim, stream.Context()
	me, clean := claim.join(first.GetHolder(), first.GetFence()), false
	defer func() { claim.leave(me, clean) }()
	said := make(chan *workerv1.ClaimRequest)
	go hear(stream, said)
	for {
		news, err := claim.look(me)
		if err != nil {
			return status.Errorf(codes.Internal, "the claim cannot be stored: %v", err)
		}
		if !first.GetWait() && !claim.holds(me) {
			by, _ := claim.standing()
			return status.Errorf(codes.FailedPrecondition, "the build is claimed by %s", by)
		}
		if news != nil {
			if err := stream.Send(news); err != nil {
				return err
			}
		}
		select {
		case <-me.news:
		case req, more := <-said:
			if !more {
				clean = ctx.Err() == nil
				return nil
			}
			if answer := claim.heard(me, req); answer != nil {
				if err := stream.Send(answer); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.server.released:
			if clean = claim.holds(me); clean {
				return nil
			}
			return status.Error(codes.FailedPrecondition, takenWords)
		}
	}
}

// takenWords answer those that wait for the claim of a build that was released.
const takenWords = "everything has been taken"

// hear passes on what a client says, and closes said when it ends its half of the stream. When the stream has ended otherwise nothing is told: the stream's context tells.
func hear(stream grpc.BidiStreamingServer[workerv1.ClaimRequest, workerv1.ClaimResponse], said chan<- *workerv1.ClaimRequest) {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			close(said)
		}
		if err != nil {
			return
		}
		select {
		case said <- req:
		case <-stream.Context().Done():
			return
		}
	}
}

// Release lets the worker end.
func (s *service) Release(ctx context.Context, req *workerv1.ReleaseRequest) (*workerv1.ReleaseResponse, error) {
	s.server.view.catchUp(ctx)
	state, _, _ := s.server.view.standing()
	last := s.build().Journal().Last()
	switch {
	case !s.server.claim.has(req.GetFence()):
		return nil, status.Errorf(codes.FailedPrecondition, "%d is not the number of the claim that is held", req.GetFence())
	case !state.Final() || !s.build().Journal().Closed():
		return nil, status.Error(codes.FailedPrecondition, "the build has not ended")
	case req.GetLastEntry() != last:
		return nil, status.Errorf(codes.FailedPrecondition, "the last entry is %d, and %d was taken", last, req.GetLastEntry())
	}
	// A worker that is killed now, and started again, has nothing to wait for.
	if err := whole.WriteFile(filepath.Join(s.build().Results(), releasedName), nil, 0o600); err != nil {
		return nil, status.Errorf(codes.Internal, "the release cannot be stored: %v", err)
	}
	s.server.release.Do(func() { close(s.server.released) })
	return &workerv1.ReleaseResponse{}, nil
}
