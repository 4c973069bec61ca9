package wharfapitest

import (
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	wharfapiv5 "github.com/wharfci/wharf/api/wharfapi/v5"
)

// lines serves the gRPC API.
type lines struct {
	wharfapiv5.UnimplementedBuildsServer
	server *Server
	up     *service
}

// store stores a line. The server is locked.
func (s *Server) store(b *Build, l Line) {
	b.Count++
	if !s.opts.Forget {
		b.Lines, b.Stored = append(b.Lines, l), append(b.Stored, time.Now())
	}
}

// CreateLogStream stores the lines that come.
func (l *lines) CreateLogStream(stream grpc.ClientStreamingServer[wharfapiv5.CreateLogStreamRequest, wharfapiv5.CreateLogStreamResponse]) error {
	ctx := stream.Context()
	if want := l.server.opts.Token; want != "" {
		if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("authorization")) != 1 || md.Get("authorization")[0] != "Bearer "+want {
			return status.Error(codes.Unauthenticated, "the bearer token is missing or wrong")
		}
	}
	f := l.server.faulty(Call{Kind: PutLines})
	if f.Refuse != 0 {
		return status.Error(codes.Unavailable, "a fault")
	}
	cut := func() error {
		if p, ok := peer.FromContext(ctx); ok {
			l.up.conns.cutOne(p.Addr.String())
		}
		return status.Error(codes.Unavailable, "cut")
	}
	var n uint64
	var late []*wharfapiv5.CreateLogStreamRequest
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.storeLate(f.Late, late)
			return err
		}
		if req.GetBuildId() == 0 {
			continue
		}
		if f.Late > 0 { // what comes is stored in one go
			late = append(late, req)
			n++
			continue
		}
		if !l.storeOne(req) {
			return status.Errorf(codes.Internal, "FOREIGN KEY constraint failed: build %d", req.GetBuildId())
		}
		if n++; f.CutAfter > 0 && n == uint64(f.CutAfter) {
			return cut()
		}
	}
	l.storeLate(f.Late, late)
	switch {
	case f.Lose:
		return cut()
	case f.Status != 0:
		return status.Error(codes.Unavailable, "the answer is lost")
	}
	return stream.SendAndClose(&wharfapiv5.CreateLogStreamResponse{LinesInserted: n})
}

func (l *lines) storeOne(req *wharfapiv5.CreateLogStreamRequest) bool {
	return l.server.update(req.GetBuildId(), func(b *Build) { l.server.store(b, Line{req.GetTimestamp().AsTime(), req.GetMessage()}) })
}

func (l *lines) storeLate(after time.Duration, all []*wharfapiv5.CreateLogStreamRequest) {
	if after == 0 {
		return
	}
	time.Sleep(after) // a database that is slow tells nobody
	for _, req := range all {
		l.storeOne(req)
	}
}
