package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/worker/internal/whole"
)

// fenceName is the file in the results directory that holds the number of the last claim, so that none is granted twice.
const fenceName = ".fence"

// claim is who relays the build.
type claim struct {
	path string

	mu     sync.Mutex
	fence  uint64
	holder string
	held   bool
	free   chan struct{} // closed when the claim is given back; nil while nobody waits
}

func openClaim(dir string) (*claim, error) {
	c := &claim{path: filepath.Join(dir, fenceName)}
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		c.fence, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	}
	if err != nil {
		return nil, fmt.Errorf("the number of the last claim: %w", err)
	}
	return c, nil
}

// take takes the claim if it is free; else free is closed when it may be.
func (c *claim) take(holder string) (fence uint64, by string, free <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		if c.free == nil {
			c.free = make(chan struct{})
		}
		return 0, c.holder, c.free, nil
	}
	// The number is on the disk before it is used.
	if err := whole.WriteFile(c.path, fmt.Appendln(nil, c.fence+1), 0o600); err != nil {
		return 0, "", nil, err
	}
	c.fence++
	c.held, c.holder = true, holder
	return c.fence, "", nil, nil
}

// give gives the claim back.
func (c *claim) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held, c.holder = false, ""
	if c.free != nil {
		close(c.free)
		c.free = nil
	}
}

// by returns who has the claim.
func (c *claim) by() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holder
}

// has reports whether a fence is that of the claim.
func (c *claim) has(fence uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held && c.fence == fence
}

// Claim grants the claim for as long as the stream lasts.
func (s *service) Claim(req *workerv1.ClaimRequest, stream grpc.ServerStreamingServer[workerv1.ClaimResponse]) error {
	holder := req.GetHolder()
	if holder == "" || len(holder) > 200 {
		return status.Error(codes.InvalidArgument, "the holder must have 1 to 200 bytes")
	}
	ctx := stream.Context()
	for {
		fence, by, free, err := s.server.claim.take(holder)
		if err != nil {
			return status.Errorf(codes.Internal, "the claim cannot be stored: %v", err)
		}
		if free == nil {
			defer s.server.claim.give()
			if err := stream.Send(&workerv1.ClaimResponse{Fence: fence}); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return status.FromContextError(ctx.Err()).Err()
			case <-s.server.released:
				return nil
			}
		}
		if !req.GetWait() {
			return status.Errorf(codes.FailedPrecondition, "the build is claimed by %s", by)
		}
		select {
		case <-free:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.server.released:
			return status.Error(codes.FailedPrecondition, "everything has been taken")
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
	s.server.release.Do(func() { close(s.server.released) })
	return &workerv1.ReleaseResponse{}, nil
}
