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

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/worker/internal/wire"
	"github.com/wharfci/wharf/worker/journal"
)

// service answers the calls.
type service struct {
	workerv1.UnimplementedWorkerServiceServer
	server *Server
}

func (s *service) build() Build { return s.server.cfg.Build }

// seen waits until the view has everything that is in the journal now.
func (s *service) seen(ctx context.Context) error {
	s.server.view.catchUp(ctx)
	if err := s.server.view.ready(); err != nil {
		return status.Error(codes.DataLoss, err.Error())
	}
	return nil
}

// GetBuild returns where the build stands.
func (s *service) GetBuild(ctx context.Context, req *workerv1.GetBuildRequest) (*workerv1.GetBuildResponse, error) {
	if err := s.seen(ctx); err != nil {
		return nil, err
	}
	b := s.server.view.build()
	b.Id = s.build().ID()
	b.Version, b.Runtime = s.server.cfg.Version, s.server.cfg.Runtime
	b.LastEntry = s.build().Journal().Last()
	b.ClaimedBy, b.TakenEntry = s.server.claim.standing()
	if req.GetWithPlan() {
		plan, err := os.ReadFile(filepath.Join(s.build().Results(), journal.PlanFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is not there has not been written yet
			return nil, status.Error(codes.Internal, err.Error())
		}
		b.PlanJson = plan
	}
	return &workerv1.GetBuildResponse{Build: b}, nil
}

// messageBytes is how much text a message of the journal gathers. The buffers that gRPC takes for larger messages have 1 MiB.
const messageBytes = 20 << 10

// ReadJournal streams the journal.
func (s *service) ReadJournal(req *workerv1.ReadJournalRequest, stream grpc.ServerStreamingServer[workerv1.ReadJournalResponse]) error {
	last := s.build().Journal().Last()
	if req.GetAfter() > last {
		return status.Errorf(codes.OutOfRange, "the journal has %d entries, and is asked for those behind %d", last, req.GetAfter())
	}
	r, err := journal.OpenAfter(s.build().Results(), req.GetAfter())
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	defer func() { _ = r.Close() }()
	r.Only(req.GetStep())
	if req.GetWithoutLogs() {
		r.WithoutLogs()
	}
	if req.GetWithoutText() {
		r.WithoutText()
	}
	out := &sender{reader: r, stream: stream}
	if req.GetStep() == "" && !req.GetWithoutLogs() && !req.GetWithoutText() {
		out.taken = s.server.view.taken
	}
	for {
		more, err := out.send()
		if err != nil || !req.GetFollow() && (!more || out.last >= last) {
			return err
		}
		if more {
			continue
		}
		err = s.build().Journal().Wait(stream.Context(), r)
		if errors.Is(err, io.EOF) {
			return s.end(stream.Context())
		}
		if err != nil {
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// end says what it means that a journal has ended.
func (s *service) end(ctx context.Context) error {
	if err := s.seen(ctx); err != nil {
		return err
	}
	state, reason, stored := s.server.view.standing()
	switch {
	case !state.Final():
		return status.Error(codes.Unavailable, "the worker ends, and the build has not: it goes on when the worker is started again")
	case !stored:
		return status.Errorf(codes.DataLoss, "the build is %s, which could not be stored: %s", state, reason)
	}
	return nil
}

// sender sends a journal to one client.
type sender struct {
	reader *journal.Reader
	rest   journal.Batch // what did not fit into the last message
	last   uint64        // the number of the last entry that was sent
	stream grpc.ServerStreamingServer[workerv1.ReadJournalResponse]
	taken  func(last uint64) // nil for who does not get all
}

// next returns what comes next, in pieces that a message has room for; nil if there is nothing now.
func (s *sender) next() (*journal.Batch, error) {
	if s.rest.First == 0 {
		b, err := s.reader.NextBatch()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		s.rest = *b
	}
	return s.rest.Cut(messageBytes)
}

// send sends the next message, if there is something to tell; else more is false.
func (s *sender) send() (more bool, err error) {
	msg := &workerv1.ReadJournalResponse{}
	for size := 0; size < messageBytes/2; {
		b, err := s.next()
		if err != nil {
			return false, status.Error(codes.DataLoss, err.Error())
		}
		if b == nil {
			break
		}
		s.last = b.Last()
		piece := wire.Batch(b)
		msg.Batches = append(msg.Batches, piece)
		size += proto.Size(piece)
	}
	if len(msg.Batches) == 0 {
		return false, nil
	}
	if err := s.stream.Send(msg); err != nil {
		return false, err
	}
	if s.taken != nil {
		s.taken(s.last)
	}
	return s.stream.Context().Err() == nil, status.FromContextError(s.stream.Context().Err()).Err()
}

// Cancel stops the build.
func (s *service) Cancel(_ context.Context, req *workerv1.CancelRequest) (*workerv1.CancelResponse, error) {
	reason := req.GetReason()
	if len(reason) > 1000 {
		return nil, status.Error(codes.InvalidArgument, "the reason is longer than 1000 bytes")
	}
	s.build().Stop(reason, req.GetForce())
	return &workerv1.CancelResponse{}, nil
}

// artifactsAtOnce is how many artifacts a message tells.
const artifactsAtOnce = 100

// ListArtifacts streams what has been kept.
func (s *service) ListArtifacts(_ *workerv1.ListArtifactsRequest, stream grpc.ServerStreamingServer[workerv1.ListArtifactsResponse]) error {
	if err := s.seen(stream.Context()); err != nil {
		return err
	}
	for some := range slices.Chunk(s.server.view.allArtifacts(), artifactsAtOnce) {
		if err := stream.Send(&workerv1.ListArtifactsResponse{Artifacts: some}); err != nil {
			return err
		}
	}
	return nil
}

// chunkBytes is the size of a chunk of an artifact.
const chunkBytes = 24 << 10

// ReadArtifact streams an artifact. Only names that the journal has lead to a file.
func (s *service) ReadArtifact(req *workerv1.ReadArtifactRequest, stream grpc.ServerStreamingServer[workerv1.ReadArtifactResponse]) error {
	s.server.view.catchUp(stream.Context())
	a := s.server.view.artifact(req.GetStep(), req.GetName())
	if a == nil {
		return status.Errorf(codes.NotFound, "step %q has no artifact %q", req.GetStep(), req.GetName())
	}
	if req.GetOffset() < 0 || req.GetOffset() > a.GetSize() {
		return status.Errorf(codes.OutOfRange, "the artifact has %d bytes, and is asked for from %d on", a.GetSize(), req.GetOffset())
	}
	root, err := os.OpenRoot(filepath.Join(s.build().Results(), journal.Artifacts, a.GetStep()))
	if err != nil {
		return status.Error(codes.DataLoss, err.Error())
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(filepath.FromSlash(a.GetName()))
	if err != nil {
		return status.Error(codes.DataLoss, err.Error())
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(req.GetOffset(), io.SeekStart); err != nil {
		return status.Error(codes.DataLoss, err.Error())
	}
	return sendFile(a, f, a.GetSize()-req.GetOffset(), stream)
}

// sendFile sends the next n bytes of a file.
func sendFile(a *workerv1.Artifact, f io.Reader, n int64, stream grpc.ServerStreamingServer[workerv1.ReadArtifactResponse]) error {
	buf := make([]byte, min(chunkBytes, n))
	for first := true; first || n > 0; first = false {
		msg := &workerv1.ReadArtifactResponse{Data: buf[:min(n, int64(len(buf)))]}
		if first {
			msg.Artifact = a
		}
		if _, err := io.ReadFull(f, msg.Data); err != nil {
			return status.Error(codes.DataLoss, fmt.Sprintf("artifact %s of step %s: %v", a.GetName(), a.GetStep(), err))
		}
		if err := stream.Send(msg); err != nil {
			return err
		}
		n -= int64(len(msg.Data))
	}
	return nil
}
