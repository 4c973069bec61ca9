package wharfapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/wharfci/wharf/aggregator/sink"
	wharfapiv5 "github.com/wharfci/wharf/api/wharfapi/v5"
)

// stream is a call of CreateLogStream that is under way.
type stream struct {
	grpc.ClientStream
	cancel context.CancelCauseFunc
	sent   uint64
}

// connect makes the connection for gRPC, which is used again for the next stream.
func (r *report) connect() error {
	if r.conn != nil {
		return nil
	}
	creds := insecure.NewCredentials()
	if r.sink.base.Scheme == "https" {
		creds = credentials.NewTLS(r.sink.opts.TLS)
	}
	conn, err := grpc.NewClient("passthrough:///"+address(r.sink.base), grpc.WithTransportCredentials(creds), grpc.WithIdleTimeout(idle),
		grpc.WithContextDialer(func(ctx context.Context, at string) (net.Conn, error) { return r.dial(ctx, "tcp", at) }))
	if err == nil {
		r.conn = conn
	}
	return err
}

// address is host and port of a URL.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// bind ends the stream with a context, until the function that it returns is called.
func (s *stream) bind(ctx context.Context) (unbind func() bool) {
	return context.AfterFunc(ctx, func() { s.cancel(context.Cause(ctx)) })
}

// open begins a stream.
func (r *report) open(ctx context.Context) error {
	if err := r.connect(); err != nil {
		return err
	}
	life, cancel := context.WithCancelCause(r.ctx)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	auth, err := r.rest.authorization()
	if err != nil {
		cancel(nil)
		return err
	}
	if auth != "" {
		life = metadata.AppendToOutgoingContext(life, "authorization", auth)
	}
	s, err := r.conn.NewStream(life, &wharfapiv5.Builds_ServiceDesc.Streams[0], wharfapiv5.Builds_CreateLogStream_FullMethodName, grpc.ForceCodecV2(codec{}))
	if err != nil {
		cancel(nil)
		r.hangUp() // it would be tried again and again, longer and longer apart, and outside of the turn, when it cannot write
		return classified(err)
	}
	r.stream = &stream{ClientStream: s, cancel: cancel}
	return nil
}

// Append writes lines. Who has not asked how many there are has it asked here: wharf-api would store them wherever they are said to belong.
func (r *report) Append(ctx context.Context, at uint64, lines []sink.Line) error {
	if !r.known && !r.unsure {
		if _, err := r.Lines(ctx); err != nil {
			return err
		}
	}
	return r.bounded(ctx, func(ctx context.Context) error {
		if r.unsure {
			return errors.New("it is not known how many lines there are")
		}
		want := r.base
		if r.stream != nil {
			want += r.stream.sent
		}
		if at != want {
			return fmt.Errorf("lines behind the first %d, and there are %d", at, want)
		}
		if r.stream == nil {
			if err := r.open(ctx); err != nil {
				return err
			}
		}
		defer r.stream.bind(ctx)()
		for i := range lines {
			r.stream.sent++ // also if it fails: it may have arrived
			if err := r.stream.SendMsg(&message{r.build, &lines[i]}); err != nil {
				if errors.Is(err, io.EOF) { // Recv has the reason
					err = r.stream.RecvMsg(&wharfapiv5.CreateLogStreamResponse{})
				}
				return classified(err)
			}
		}
		return nil
	})
}

// Commit ends the stream, and takes the answer.
func (r *report) Commit(ctx context.Context) error {
	if r.stream == nil {
		return nil
	}
	return r.bounded(ctx, func(ctx context.Context) error {
		defer r.stream.bind(ctx)()
		_ = r.stream.CloseSend() // its own error says less than that of Recv
		var answer wharfapiv5.CreateLogStreamResponse
		if err := r.stream.RecvMsg(&answer); err != nil {
			return classified(err)
		}
		s := r.stream
		s.cancel(nil)
		r.stream = nil
		if got := answer.GetLinesInserted(); got != s.sent {
			r.unsure, r.since, r.most = true, time.Now(), 0
			return errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("wharf-api has stored %d of %d lines", got, s.sent))
		}
		r.base += s.sent
		return nil
	})
}

// bounded does something with the stream, which is broken if that fails, or if it takes too long.
func (r *report) bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.sink.opts.Timeout, errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("wharf-api takes no lines for %s", r.sink.opts.Timeout)))
	defer cancel()
	err := do(ctx)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	r.broken()
	return fmt.Errorf("wharf-api: the lines of build %d: %w", r.build, err)
}

// broken ends a stream of which nobody knows what has arrived.
func (r *report) broken() {
	s := r.stream
	if s == nil {
		return
	}
	s.cancel(nil)
	r.stream = nil
	if r.unsure {
		r.most = 0
	} else {
		r.unsure, r.most = s.sent > 0, r.base+s.sent
	}
	r.since = time.Now()
	r.hangUp()
}

// hangUp ends the connection for lines, and with it what is under way on this side.
func (r *report) hangUp() {
	_ = r.conn.Close()
	r.conn = nil
}

// classified is an error of gRPC in the classes of errdefs.
func classified(err error) error {
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.Unauthenticated:
		return errdefs.ErrUnauthenticated.WithMessage(s.Message())
	case codes.PermissionDenied:
		return errdefs.ErrPermissionDenied.WithMessage(s.Message())
	case codes.NotFound:
		return errdefs.ErrNotFound.WithMessage(s.Message())
	}
	return errdefs.ErrUnavailable.WithMessage(s.Code().String() + ": " + s.Message())
}

// message is a line of a build.
type message struct {
	build uint64
	line  *sink.Line
}

// codec writes lines as CreateLogStreamRequest has them, without making one of each: a stream has millions.
type codec struct{}

// Name is that of the usual codec.
func (codec) Name() string { return "proto" }

var _ encoding.CodecV2 = codec{}

// Marshal writes a *message.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return nil, fmt.Errorf("cannot write %T", v)
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(len(m.line.Text) + mostBeside)
	*buf = m.append((*buf)[:0])
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

// mostBeside is how many bytes a message has at most beside its text.
const mostBeside = 64

func (m *message) append(b []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, m.build)
	if m.line.Entry != 0 {
		b = protowire.AppendTag(b, 2, protowire.VarintType)
		b = protowire.AppendVarint(b, m.line.Entry)
	}
	b = appendTime(b, m.line.Time)
	b = protowire.AppendTag(b, 5, protowire.BytesType)
	return protowire.AppendBytes(b, m.line.Text)
}

func appendTime(b []byte, t time.Time) []byte {
	seconds, nanos := t.Unix(), t.Nanosecond()
	size := protowire.SizeTag(1) + protowire.SizeVarint(uint64(seconds))
	if nanos != 0 {
		size += protowire.SizeTag(2) + protowire.SizeVarint(uint64(nanos))
	}
	b = protowire.AppendTag(b, 4, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(seconds))
	if nanos != 0 {
		b = protowire.AppendTag(b, 2, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(nanos))
	}
	return b
}

// Unmarshal reads the answer.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("cannot read %T", v)
	}
	return proto.Unmarshal(data.Materialize(), m)
}
