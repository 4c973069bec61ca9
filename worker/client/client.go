package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	workerv1 "github.com/wharfci/wharf/api/worker/v1"
	"github.com/wharfci/wharf/worker/internal/wire"
	"github.com/wharfci/wharf/worker/journal"
)

// Options say how to reach a worker.
type Options struct {
	// Token is the worker's.
	Token string
	// TLS, if not nil, is used for the connection.
	TLS *tls.Config
	// Dial, if not nil, makes the connection, in place of TCP to the address: such as [github.com/wharfci/wharf/driver.Dial].
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Client speaks with one worker. Its methods may be called by many goroutines at once; a call ends when its context does. Errors are those of gRPC, see
// [google.golang.org/grpc/status]: Unavailable if the worker cannot be reached, and Unauthenticated if the token is not its own.
type Client struct {
	conn  *grpc.ClientConn
	api   workerv1.WorkerServiceClient
	token string
}

// maxMessage is the largest message that is taken: a batch may be larger than what a message gathers.
const maxMessage = 16 << 20

// Dial prepares to speak with the worker at an address, "host:port" or "unix:///path". The connection is made with the first call.
func Dial(address string, opts Options) (*Client, error) {
	creds := insecure.NewCredentials()
	if opts.TLS != nil {
		creds = credentials.NewTLS(opts.TLS)
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
	}
	if opts.Dial != nil {
		address = "passthrough:///" + address
		dial = append(dial, grpc.WithContextDialer(opts.Dial))
	}
	conn, err := grpc.NewClient(address, dial...)
	if err != nil {
		return nil, fmt.Errorf("worker %s: %w", address, err)
	}
	return &Client{conn: conn, api: workerv1.NewWorkerServiceClient(conn), token: opts.Token}, nil
}

// Close ends the connection, and with it what is being read.
func (c *Client) Close() error { return c.conn.Close() }

// with adds the token.
func (c *Client) with(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
}

// Step is where a step stands.
type Step struct {
	ID, Stage string
	State     journal.State
	Reason    string
	Attempt   int
	Since     time.Time
}

// Build is where a build stands.
type Build struct {
	ID     string
	State  journal.State
	Reason string
	// Ended is zero while it runs.
	Began, Ended time.Time
	// Last is the number of the journal's last entry.
	Last  uint64
	Steps []Step
	// Plan is the plan as JSON, without its secrets, if it was asked for.
	Plan []byte
	// ClaimedBy is who relays the build; empty if nobody does. Taken is the number of the last entry that it has done with, or the one before it; 0 if nobody has told.
	ClaimedBy string
	Taken     uint64
	// Version and Runtime say what the worker is.
	Version, Runtime string
}

// Build returns where the build stands.
func (c *Client) Build(ctx context.Context, withPlan bool) (Build, error) {
	resp, err := c.api.GetBuild(c.with(ctx), &workerv1.GetBuildRequest{WithPlan: withPlan})
	if err != nil {
		return Build{}, err
	}
	b := resp.GetBuild()
	out := Build{
		ID: b.GetId(), State: journal.State(b.GetState()), Reason: b.GetReason(), Began: wire.FromTime(b.GetBegan()), Ended: wire.FromTime(b.GetEnded()),
		Last: b.GetLastEntry(), Plan: b.GetPlanJson(), ClaimedBy: b.GetClaimedBy(), Taken: b.GetTakenEntry(), Version: b.GetVersion(), Runtime: b.GetRuntime(),
	}
	for _, s := range b.GetSteps() {
		out.Steps = append(out.Steps, Step{
			ID: s.GetId(), Stage: s.GetStage(), State: journal.State(s.GetState()), Reason: s.GetReason(), Attempt: int(s.GetAttempt()), Since: wire.FromTime(s.GetSince()),
		})
	}
	return out, nil
}

// ReadOptions say what of a journal to read.
type ReadOptions struct {
	// After is the number of the entry behind which to begin; 0 is the beginning.
	After uint64
	// Follow goes on with what is still to come, to the build's end.
	Follow bool
	// Step restricts to entries of a step.
	Step string
	// WithoutLogs leaves log lines out.
	WithoutLogs bool
	// WithoutText leaves out the text of log lines: batches say how many there are, and from where. It is for Batches alone.
	WithoutText bool
}

// Batches iterates over the journal as it is stored. An error is the last pair; go on behind the last entry that came. Without one the end that
// opts speak of has been reached.
func (c *Client) Batches(ctx context.Context, opts ReadOptions) iter.Seq2[*journal.Batch, error] {
	return func(yield func(*journal.Batch, error) bool) {
		ctx, cancel := context.WithCancel(c.with(ctx))
		defer cancel()
		stream, err := c.api.ReadJournal(ctx, &workerv1.ReadJournalRequest{After: opts.After, Follow: opts.Follow, Step: opts.Step, WithoutLogs: opts.WithoutLogs, WithoutText: opts.WithoutText})
		if err != nil {
			yield(nil, err)
			return
		}
		for {
			msg, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, b := range msg.GetBatches() {
				batch, err := wire.FromBatch(b)
				if !yield(batch, err) || err != nil {
					return
				}
			}
		}
	}
}

// Events iterates over the journal's entries; see Batches.
func (c *Client) Events(ctx context.Context, opts ReadOptions) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		var decode journal.Decoder
		var events []journal.Event
		for b, err := range c.Batches(ctx, opts) {
			if err == nil {
				events, err = decode.Append(events[:0], b)
			}
			if err != nil {
				yield(journal.Event{}, err)
				return
			}
			for i := range events {
				if !yield(events[i], nil) {
					return
				}
			}
		}
	}
}

// Artifact is a file that a step has left.
type Artifact struct {
	// Step is the step's ID, and Name the path in the workspace, with "/" between elements.
	Step, Name string
	// Size is in bytes, and SHA256 in hexadecimal.
	Size   int64
	SHA256 string
}

// Artifacts returns what has been kept so far.
func (c *Client) Artifacts(ctx context.Context) ([]Artifact, error) {
	ctx, cancel := context.WithCancel(c.with(ctx))
	defer cancel()
	stream, err := c.api.ListArtifacts(ctx, &workerv1.ListArtifactsRequest{})
	if err != nil {
		return nil, err
	}
	var all []Artifact
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		for _, a := range msg.GetArtifacts() {
			all = append(all, Artifact{Step: a.GetStep(), Name: a.GetName(), Size: a.GetSize(), SHA256: a.GetSha256()})
		}
	}
}

// ReadArtifact writes an artifact to w, from an offset in bytes on, and returns how many bytes that were: with an error, as many as came before it. So
// a download that broke off goes on at the offset that is the sum.
func (c *Client) ReadArtifact(ctx context.Context, step, name string, offset int64, w io.Writer) (n int64, err error) {
	ctx, cancel := context.WithCancel(c.with(ctx))
	defer cancel()
	stream, err := c.api.ReadArtifact(ctx, &workerv1.ReadArtifactRequest{Step: step, Name: name, Offset: offset})
	if err != nil {
		return 0, err
	}
	size := int64(-1)
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if offset+n != size {
				return n, status.Errorf(codes.DataLoss, "the artifact has %d bytes, and %d have come", size, offset+n)
			}
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if msg.GetArtifact() != nil {
			size = msg.GetArtifact().GetSize()
		}
		written, err := w.Write(msg.GetData())
		n += int64(written)
		if err != nil {
			return n, err
		}
	}
}

// Cancel stops the build: what runs is told to end, and is killed after its time of grace; with force, at once.
func (c *Client) Cancel(ctx context.Context, reason string, force bool) error {
	_, err := c.api.Cancel(c.with(ctx), &workerv1.CancelRequest{Reason: reason, Force: force})
	return err
}
